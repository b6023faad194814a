package io.tensorhold.cli;

import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Shows the first rows of a table that were written. */
@Command(
    name = "scan",
    mixinStandardHelpOptions = true,
    description = "Show rows of a table that were ever written, shard by shard, by rising key.",
    footer = {"", "Example:", "  tensorhold scan words rows --limit 5"})
final class ScanCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Parameters(index = "1", paramLabel = "TABLE", description = "The table.")
  private String table = "";

  @Option(names = "--limit", defaultValue = "20", description = "Rows at most (default: 20).")
  private int limit;

  @Override
  public Integer call() {
    if (limit < 1) {
      throw new CliFailure("--limit: value=%d allowed=from 1".formatted(limit));
    }
    List<Map<String, Object>> documents = new ArrayList<>();
    List<String> lines = new ArrayList<>();
    try (TensorholdClient client = globals.connect()) {
      Table rows = client.model(name).table(table);
      client
          .scan(rows)
          .values(
              (keys, values) -> {
                for (int i = 0; i < keys.length && lines.size() < limit; i++) {
                  float[] row = Arrays.copyOfRange(values, i * rows.dim(), (i + 1) * rows.dim());
                  lines.add(keys[i] + ":" + TableText.row(row));
                  Map<String, Object> document = new LinkedHashMap<>();
                  document.put("key", keys[i]);
                  document.put("values", row);
                  documents.add(document);
                }
                return lines.size() < limit;
              });
    }
    globals
        .output()
        .print(
            Map.of("name", name, "table", table, "rows", documents),
            () -> lines.forEach(line -> Output.line("%s", line)));
    return 0;
  }
}
