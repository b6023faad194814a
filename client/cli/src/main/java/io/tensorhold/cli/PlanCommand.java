package io.tensorhold.cli;

import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.plan.ModelConfig;
import io.tensorhold.client.plan.Plan;
import io.tensorhold.client.plan.PlanRequest;
import io.tensorhold.numerics.Codec;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Plans what a model needs. */
@Command(
    name = "plan",
    mixinStandardHelpOptions = true,
    description =
        "Say what storage and memory a model needs: of a checkpoint, of a config.json (GPT-2, BERT, LLaMA families) or of a number of parameters.",
    footer = {
      "",
      "Examples:",
      "  tensorhold plan model.safetensors --servers-planned 3 --replicas 3 --optimizer adam",
      "  tensorhold plan config.json --codec q8_0 --zero 2 --ranks 8 --batch 4 --sequence 2048",
      "  tensorhold plan 7000000000 --codec q8_0"
    })
final class PlanCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(paramLabel = "WHAT", description = "A checkpoint, a config.json, or a number.")
  private String what = "";

  @Option(
      names = "--codec",
      description =
          "f32, f16, bf16, fp8_e4m3, q8_0, q8_linear, q4_0 or nf4 (default: each as it is).")
  private @Nullable String codec;

  @Option(names = "--optimizer", description = "none (default), momentum, or one that load takes.")
  private String optimizer = "none";

  @Option(names = "--servers-planned", description = "Servers (default: ${DEFAULT-VALUE}).")
  private int servers = 1;

  @Option(names = "--replicas", description = "Replicas (default: ${DEFAULT-VALUE}).")
  private int replicas = 1;

  @Option(names = "--zero", description = "ZeRO stage of the workers, 0 to 3.")
  private int zero;

  @Option(names = "--ranks", description = "Workers that ZeRO shards over.")
  private int ranks = 1;

  @Option(names = "--batch", description = "Sequences of a worker's batch.")
  private long batch = 1;

  @Option(names = "--sequence", description = "Tokens of a sequence.")
  private long sequence = 2048;

  @Override
  public Integer call() throws Exception {
    PlanRequest request =
        PlanRequest.DEFAULT
            .withCodec(codec == null ? null : Codec.ofName(codec))
            .withOptimizer(PlanRequest.Optimizer.of(optimizer))
            .withStorage(PlanRequest.Storage.DEFAULT.on(servers, replicas))
            .withTraining(
                PlanRequest.Training.DEFAULT
                    .zero(zero, ranks)
                    .sequences(batch, sequence, PlanRequest.Recomputation.NONE));
    Plan plan = plan(request);
    globals.output().print(document(plan), () -> text(plan));
    return 0;
  }

  private Plan plan(PlanRequest request) throws Exception {
    if (what.matches("[0-9_,]{1,20}")) {
      try {
        return Plan.of(Long.parseLong(what.replaceAll("[_,]", "")), request);
      } catch (NumberFormatException e) {
        throw new CliFailure("parameters: value=%s is too large".formatted(what));
      }
    }
    Path path = Path.of(what);
    if (what.endsWith("config.json")) {
      return Plan.of(ModelConfig.parse(path), request);
    }
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      return Plan.of(checkpoint.tensors(), request);
    }
  }

  private static Map<String, Object> document(Plan plan) {
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("parameters", plan.parameters());
    document.put("weight_bytes", plan.weightBytes());
    document.put("bits_per_weight", bitsPerWeight(plan));
    document.put("storage", plan.storage());
    document.put("training", plan.training());
    List<Map<String, Object>> groups = new ArrayList<>();
    for (Plan.GroupBytes group : plan.groups()) {
      groups.add(
          Map.of(
              "name", group.group().name(),
              "elements", group.group().total(),
              "codec", group.codec().label(),
              "bytes", group.bytes()));
    }
    document.put("groups", groups);
    return document;
  }

  private static double bitsPerWeight(Plan plan) {
    return plan.parameters() == 0 ? 0 : 8.0 * plan.weightBytes() / plan.parameters();
  }

  private void text(Plan plan) {
    Output.line(
        "%s parameters, weights %s, %.3f bits each with their scales",
        Output.count(plan.parameters()), Output.bytes(plan.weightBytes()), bitsPerWeight(plan));
    System.out.println();
    Plan.StoragePlan storage = plan.storage();
    Output.table(
        List.of("STORED IN THE CLUSTER", "ALL SERVERS", "FULLEST SERVER"),
        List.of(
            List.of(
                "disk",
                Output.bytes(storage.diskBytes()),
                Output.bytes(storage.fullestServer().disk())),
            List.of(
                "  of it the log",
                Output.bytes(storage.logBytes()),
                Output.bytes(storage.fullestServer().log())),
            List.of(
                "memory for blocks",
                Output.bytes(storage.memoryBytes()),
                Output.bytes(storage.fullestServer().memory()))));
    Output.line(
        "one replica: weights %s + optimizer %s = %s in %s blocks",
        Output.bytes(plan.weightBytes()),
        Output.bytes(storage.optimizerBytes()),
        Output.bytes(storage.copyBytes()),
        Output.count(storage.blocks()));
    System.out.println();
    Plan.TrainingPlan training = plan.training();
    List<List<String>> rows = new ArrayList<>();
    rows.add(List.of("weights", Output.bytes(training.weights())));
    rows.add(List.of("gradients", Output.bytes(training.gradients())));
    rows.add(List.of("optimizer and master weights", Output.bytes(training.optimizer())));
    if (training.activations() != null) {
      rows.add(List.of("activations", Output.bytes(training.activations())));
    }
    rows.add(List.of("together", Output.bytes(training.total())));
    Output.table(List.of("A WORKER THAT TRAINS IT", "MEMORY"), rows);
    if (training.activations() == null) {
      Output.line("activations are not known without a config.json");
    }
  }
}
