package io.tensorhold.cli;

import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Shows rows of a table. */
@Command(
    name = "pull-rows",
    mixinStandardHelpOptions = true,
    description = "Show rows of a table.",
    footer = {
      "",
      "Examples:",
      "  tensorhold pull-rows words rows 17 42",
      "  tensorhold pull-rows words rows --text king queen"
    })
final class PullRowsCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Parameters(index = "1", paramLabel = "TABLE", description = "The table.")
  private String table = "";

  @Parameters(index = "2..*", arity = "1..*", paramLabel = "KEY", description = "The keys.")
  private List<String> keys = List.of();

  @Option(names = "--text", description = "Keys are texts, hashed to 64 bits.")
  private boolean text;

  @Override
  public Integer call() {
    long[] numbers = keys.stream().mapToLong(this::key).toArray();
    try (TensorholdClient client = globals.connect()) {
      Table rows = client.model(name).table(table);
      float[] values = new float[Math.multiplyExact(numbers.length, rows.dim())];
      BitSet unwritten = client.pullWrittenRows(rows, numbers, new float[values.length]).join();
      client.pullRows(rows, numbers, values).join();
      globals
          .output()
          .print(
              Map.of(
                  "name",
                  name,
                  "table",
                  table,
                  "rows",
                  documents(rows, numbers, values, unwritten)),
              () -> print(rows, values, unwritten));
    }
    return 0;
  }

  private long key(String written) {
    if (text) {
      return Table.key(written);
    }
    try {
      return Long.parseLong(written);
    } catch (NumberFormatException e) {
      throw new CliFailure(
          "key: value=\"%s\" allowed=a whole number of 64 bits; --text for texts"
              .formatted(written));
    }
  }

  private static List<Map<String, Object>> documents(
      Table table, long[] keys, float[] values, BitSet unwritten) {
    List<Map<String, Object>> rows = new ArrayList<>();
    for (int i = 0; i < keys.length; i++) {
      Map<String, Object> row = new LinkedHashMap<>();
      row.put("key", keys[i]);
      row.put("written", !unwritten.get(i));
      row.put("values", row(table, values, i));
      rows.add(row);
    }
    return rows;
  }

  private static float[] row(Table table, float[] values, int i) {
    return Arrays.copyOfRange(values, i * table.dim(), (i + 1) * table.dim());
  }

  private void print(Table table, float[] values, BitSet unwritten) {
    for (int i = 0; i < keys.size(); i++) {
      Output.line(
          "%s:%s%s",
          keys.get(i),
          TableText.row(row(table, values, i)),
          unwritten.get(i) ? " (never written)" : "");
    }
  }
}
