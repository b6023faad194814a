package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.proto.v1.ModelSpec;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Makes a table of a file. */
@Command(
    name = "import-table",
    mixinStandardHelpOptions = true,
    description = "Store the rows of a .safetensors file of keys and values.",
    footer = {
      "",
      "A model that is not there is created as the file of an export-table says, and is visible when",
      "all rows are stored; an import that was killed can be run again. The rows of a file from",
      "elsewhere go into a table that was created before: tensors keys, I64 [n], and values, [n, dim].",
      "",
      "Examples:",
      "  tensorhold import-table words.safetensors words",
      "  tensorhold create-table glove --dim 50 && tensorhold import-table glove.safetensors glove"
    })
final class ImportTableCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "FILE", description = "The file.")
  private Path file = Path.of("");

  @Parameters(index = "1", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Option(names = "--table", description = "The table, if the model has several.")
  private @Nullable String table;

  @Override
  public Integer call() throws Exception {
    try (Checkpoint checkpoint = Checkpoint.open(file);
        TensorholdClient client = globals.connect()) {
      long rows = TableImport.rows(checkpoint);
      ModelHandle existing = existing(client);
      boolean state;
      double seconds;
      try (Progress progress = new Progress("import " + name, bytes(checkpoint))) {
        long rowBytes = bytes(checkpoint) / Math.max(1, rows);
        TableImport load =
            new TableImport(client, checkpoint, count -> progress.add(count * rowBytes));
        state = existing == null ? created(client, checkpoint, load) : load.into(chosen(existing));
        seconds = progress.seconds();
      }
      globals
          .output()
          .print(
              Map.of("name", name, "rows", rows, "state", state, "seconds", seconds),
              () ->
                  Output.line(
                      "%s: %s rows%s in %.1f s",
                      name, Output.count(rows), state ? " with their state" : "", seconds));
    }
    return 0;
  }

  private static long bytes(Checkpoint checkpoint) {
    return checkpoint.tensors().stream().mapToLong(tensor -> tensor.bytes()).sum();
  }

  private @Nullable ModelHandle existing(TensorholdClient client) {
    try {
      return client.model(name);
    } catch (TensorholdException e) {
      if (e.reason().equals("MODEL_UNKNOWN")) {
        return null;
      }
      throw e;
    }
  }

  private boolean created(TensorholdClient client, Checkpoint checkpoint, TableImport load)
      throws IOException {
    ModelSpec spec = TableFile.spec(checkpoint, name);
    if (spec == null) {
      throw new CliFailure(
          "there is no model %s, and the file does not say how to create one: create-table first"
              .formatted(name));
    }
    ModelHandle model = client.createLoading(spec, true);
    boolean state = load.into(chosen(model));
    client.publish(model);
    return state;
  }

  private Table chosen(ModelHandle model) {
    List<Table> tables = model.tables();
    if (table == null && tables.size() != 1) {
      throw new CliFailure(
          "%s has %d tables (%s): name one with --table"
              .formatted(name, tables.size(), tables.stream().map(Table::name).toList()));
    }
    return table == null ? tables.getFirst() : model.table(table);
  }
}
