package io.tensorhold.cli;

import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.RowSummary;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Counts the rows of a table. */
@Command(
    name = "count",
    mixinStandardHelpOptions = true,
    description = "Count the rows of a table that were ever written.",
    footer = {
      "",
      "--histogram counts them by the L2 norm of their weights and by their optimizer steps, for each",
      "power of two.",
      "",
      "Examples:",
      "  tensorhold count words rows",
      "  tensorhold count words rows --histogram"
    })
final class CountCommand implements Callable<Integer> {
  private static final int BAR = 40;

  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Parameters(index = "1", paramLabel = "TABLE", description = "The table.")
  private String table = "";

  @Option(names = "--histogram", description = "By norm and by steps.")
  private boolean histogram;

  @Override
  public Integer call() {
    try (TensorholdClient client = globals.connect()) {
      Table counted = client.model(name).table(table);
      RowSummary summary = client.scan(counted).summary();
      Map<String, Object> document = new LinkedHashMap<>();
      document.put("name", name);
      document.put("table", table);
      document.put("rows", summary.getRows());
      document.put("norms", new TreeMap<>(summary.getNormsMap()));
      document.put("norm_zero", summary.getZero());
      document.put("nonfinite", summary.getNonfinite());
      document.put("steps", new TreeMap<>(summary.getStepsMap()));
      document.put("no_steps", summary.getNoSteps());
      globals.output().print(document, () -> print(summary));
    }
    return 0;
  }

  private void print(RowSummary summary) {
    Output.line("%s/%s: %d rows", name, table, summary.getRows());
    if (!histogram) {
      return;
    }
    Map<String, Long> norms = new LinkedHashMap<>();
    put(norms, "0", summary.getZero());
    new TreeMap<>(summary.getNormsMap()).forEach((k, n) -> put(norms, "from 2^" + k, n));
    put(norms, "NaN, infinite", summary.getNonfinite());
    bars("norm", norms, summary.getRows());
    Map<String, Long> steps = new LinkedHashMap<>();
    put(steps, "0", summary.getNoSteps());
    new TreeMap<>(summary.getStepsMap()).forEach((k, n) -> put(steps, "from " + (1L << k), n));
    bars("steps", steps, summary.getRows());
  }

  private static void put(Map<String, Long> counts, String what, long rows) {
    if (rows > 0) {
      counts.put(what, rows);
    }
  }

  private static void bars(String head, Map<String, Long> counts, long all) {
    List<List<String>> lines = new ArrayList<>();
    counts.forEach(
        (what, rows) ->
            lines.add(
                List.of(
                    what,
                    Long.toString(rows),
                    "#".repeat((int) Math.ceilDiv(rows * BAR, Math.max(1, all))))));
    Output.line("");
    Output.table(List.of(head, "rows", ""), lines);
  }
}
