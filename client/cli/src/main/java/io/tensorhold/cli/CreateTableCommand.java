package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Creates a model of one table. */
@Command(
    name = "create-table",
    mixinStandardHelpOptions = true,
    description = "Create a model of one embedding table: rows of values under int64 keys.",
    footer = {
      "",
      "A row takes no space until it is pushed to; until then it is what the initializer says.",
      "",
      "Example:",
      "  tensorhold create-table words --dim 64 --initializer uniform --init low=-0.01 --init high=0.01"
          + " --optimizer adagrad --hyper lr=0.05"
    })
final class CreateTableCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Mixin private OptimizerOptions optimizer = new OptimizerOptions();

  @Parameters(paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Option(
      names = "--table",
      defaultValue = "rows",
      description = "Name of the table in the model (default: ${DEFAULT-VALUE}).")
  private String table = "rows";

  @Option(names = "--dim", required = true, description = "Values of a row.")
  private int dim;

  @Option(names = "--codec", description = "Stored form: f32 (default), f16, bf16, q8_0, …")
  private @Nullable String codec;

  @Option(
      names = "--initializer",
      defaultValue = "zeros",
      description =
          "Of rows that were never written: zeros (default), constant, uniform, normal,"
              + " truncated_normal or xavier.")
  private String initializer = "zeros";

  @Option(
      names = "--init",
      paramLabel = "NAME=VALUE",
      description = "Number of the initializer, such as std=0.01.")
  private Map<String, Double> init = new LinkedHashMap<>();

  @Option(
      names = "--seed",
      description = "Of the initializer: tables of one seed begin alike (default: the table's id).")
  private long seed;

  @Option(names = "--durability", description = "logged (default) or checkpointed.")
  private Durability durability = Durability.LOGGED;

  @Override
  public Integer call() {
    ParameterSpec.Builder spec = ParameterSpec.newBuilder().setName(table).setDtype(DType.F32);
    spec.getTableBuilder()
        .setDim(dim)
        .getInitializerBuilder()
        .setKind(initializer)
        .putAllHyper(init)
        .setSeed(seed);
    if (codec != null) {
      spec.setCodecValue(Codec.ofName(codec).id());
    }
    try (TensorholdClient client = globals.connect()) {
      ModelHandle model =
          client.create(
              ModelSpec.newBuilder()
                  .setName(name)
                  .setDurability(durability)
                  .setOptimizer(optimizer.spec())
                  .addParameters(spec)
                  .build());
      Table created = model.table(table);
      globals
          .output()
          .print(
              Map.of("name", name, "table", table, "id", created.id(), "dim", dim),
              () -> Output.line("%s/%s", name, TableText.line(created)));
    }
    return 0;
  }
}
