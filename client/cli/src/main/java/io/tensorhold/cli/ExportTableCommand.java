package io.tensorhold.cli;

import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Writes a table to a file. */
@Command(
    name = "export-table",
    mixinStandardHelpOptions = true,
    description = "Write the rows of a table that were ever written to a .safetensors file.",
    footer = {
      "",
      "The file has tensors keys and values, and with --state what its optimizer knows of each row;",
      "import-table makes the table of it again, on any number of shards.",
      "While it is written, as much space again is needed beside it.",
      "",
      "Example:",
      "  tensorhold export-table words rows words.safetensors --state"
    })
final class ExportTableCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Parameters(index = "1", paramLabel = "TABLE", description = "The table.")
  private String table = "";

  @Parameters(index = "2", paramLabel = "FILE", description = "The file to write.")
  private Path file = Path.of("");

  @Option(names = "--state", description = "With optimizer state and steps of each row.")
  private boolean state;

  @Override
  public Integer call() throws Exception {
    long begun = System.nanoTime();
    try (TensorholdClient client = globals.connect()) {
      Table exported = client.model(name).table(table);
      long rows = new TableExport(client, exported, state).write(file);
      long bytes = Files.size(file);
      double seconds = (System.nanoTime() - begun) / 1e9;
      globals
          .output()
          .print(
              Map.of(
                  "name", name,
                  "table", table,
                  "file", file.toString(),
                  "rows", rows,
                  "bytes", bytes,
                  "seconds", seconds),
              () ->
                  Output.line(
                      "%s: %s rows, %s in %.1f s",
                      file, Output.count(rows), Output.bytes(bytes), seconds));
    }
    return 0;
  }
}
