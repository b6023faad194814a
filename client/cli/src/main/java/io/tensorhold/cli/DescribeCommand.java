package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TrainingView;
import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.client.plan.Plan;
import io.tensorhold.client.plan.PlanRequest;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.MeasureModelResponse;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.Rounding;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Describes a model: what it is, what it was planned to take, and what it takes. */
@Command(
    name = "describe",
    mixinStandardHelpOptions = true,
    description = "Show a model, and what it takes beside what was planned.",
    footer = {"", "Example: tensorhold describe bert --tensors"})
final class DescribeCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Option(names = "--tensors", description = "List every tensor.")
  private boolean tensors;

  @Option(names = "--loading", description = "Also if it is still being loaded.")
  private boolean loading;

  /** What the model takes on all servers together. */
  private record Measured(
      long blocks, long memory, long rocksdb, long weights, long state, long log) {}

  @Override
  public Integer call() {
    try (TensorholdClient client = globals.connect()) {
      ModelHandle model = loading ? client.loadingModel(name) : client.model(name);
      ClusterMap map = client.map();
      int replicas = map.getShards(0).getReplicasCount();
      Map<String, MeasureModelResponse> byServer = client.measure(model);
      Measured measured = sum(byServer.values());
      Plan plan = plan(model, map, replicas);
      long weights = model.parameters().stream().mapToLong(Parameter::bytes).sum();
      TrainingView training = client.training(model);
      Map<String, Object> document = document(model, weights, plan, measured, replicas);
      document.put("training", TrainingText.document(model.id(), training));
      globals
          .output()
          .print(
              document,
              () -> {
                text(model, weights, plan, measured, replicas, byServer.size());
                TrainingText.print(model.id(), training);
              });
    }
    return 0;
  }

  private static Measured sum(Iterable<MeasureModelResponse> parts) {
    long[] sums = new long[6];
    for (MeasureModelResponse part : parts) {
      sums[0] += part.getBlocks();
      sums[1] += part.getMemoryBytes();
      sums[2] += part.getRocksdbBytes();
      sums[3] += part.getWeightBytes();
      sums[4] += part.getStateBytes();
      sums[5] += part.getLogBytes();
    }
    return new Measured(sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]);
  }

  private static Plan plan(ModelHandle model, ClusterMap map, int replicas) {
    List<TensorEntry> entries =
        model.parameters().stream()
            .map(
                p ->
                    new TensorEntry(
                        p.name(), p.dtype(), p.shape(), p.bytes(Codec.nativeOf(p.dtype()))))
            .toList();
    ModelSpec spec = model.model().getSpec();
    Codec codec = // the one that was asked for, if any; what it does not fit is stored as it came
        model.parameters().stream()
            .filter(p -> p.codec() != Codec.nativeOf(p.dtype()))
            .map(Parameter::codec)
            .findFirst()
            .orElse(null);
    OptimizerSpec optimizer = spec.getOptimizer();
    PlanRequest.Optimizer planned = PlanRequest.Optimizer.NONE;
    if (!optimizer.getKind().isEmpty()) {
      planned =
          PlanRequest.Optimizer.of(
                  optimizer.getKind(), Optimizer.of(optimizer.getKind(), optimizer.getHyperMap()))
              .with(stateCodec(optimizer));
    }
    return Plan.of(
        entries,
        PlanRequest.DEFAULT
            .withCodec(codec)
            .withOptimizer(planned)
            .withStorage(
                PlanRequest.Storage.DEFAULT.on(
                    Math.max(replicas, map.getServersCount()), replicas)));
  }

  private Map<String, Object> document(
      ModelHandle model, long weights, Plan plan, Measured measured, int replicas) {
    Map<String, Object> document = new LinkedHashMap<>();
    ModelSpec spec = model.model().getSpec();
    document.put("name", model.name());
    document.put("id", model.id());
    document.put("state", model.model().getState().name());
    document.put("durability", spec.getDurability().name());
    document.put("consistency", spec.getConsistency().name());
    document.put("staleness_aware_rate", spec.getStalenessAwareRate());
    document.put("optimizer", spec.getOptimizer().getKind());
    document.put("hyper", spec.getOptimizer().getHyperMap());
    document.put("schedule", spec.getOptimizer().getSchedule().getKind());
    document.put("schedule_hyper", spec.getOptimizer().getSchedule().getHyperMap());
    document.put("clip_value", spec.getOptimizer().getClipValue());
    document.put("clip_norm", spec.getOptimizer().getClipNorm());
    document.put("state_codec", stateCodec(spec.getOptimizer()).label());
    document.put("rounding", spec.getOptimizer().getRounding().name());
    document.put("own_optimizers", ownOptimizers(spec));
    document.put("metadata", spec.getMetadataMap());
    document.put("elements", model.parameters().stream().mapToLong(Parameter::elements).sum());
    document.put("weight_bytes", weights);
    document.put("replicas", replicas);
    document.put(
        "planned",
        Map.of(
            "weight_bytes", plan.weightBytes(),
            "optimizer_bytes", plan.storage().optimizerBytes(),
            "memory_bytes", plan.storage().memoryBytes(),
            "disk_bytes", plan.storage().diskBytes()));
    document.put(
        "measured",
        Map.of(
            "blocks", measured.blocks,
            "memory_bytes", measured.memory,
            "rocksdb_bytes", measured.rocksdb,
            "weight_bytes", measured.weights,
            "optimizer_bytes", measured.state,
            "log_bytes_of_all_models", measured.log));
    List<Map<String, Object>> list = new ArrayList<>();
    for (Parameter p : model.tensors()) {
      list.add(
          Map.of(
              "name", p.name(),
              "dtype", p.dtype().name(),
              "shape", p.shape().dims(),
              "codec", p.codec().label(),
              "blocks", p.blocks(),
              "bytes", p.bytes()));
    }
    document.put("tensors", list);
    document.put("aliases", aliases(model));
    document.put(
        "attachments",
        model.attachments().values().stream()
            .map(file -> Map.of("name", file.name(), "bytes", file.elements()))
            .toList());
    document.put("tables", TableText.documents(model));
    return document;
  }

  private static List<Map<String, Object>> aliases(ModelHandle model) {
    List<Map<String, Object>> aliases = new ArrayList<>();
    model
        .aliases()
        .forEach(
            (name, p) ->
                aliases.add(
                    Map.of(
                        "name", name,
                        "of", p.tensor().name(),
                        "first_element", p.firstElement(),
                        "shape", p.shape().dims())));
    return aliases;
  }

  private static StateCodec stateCodec(OptimizerSpec spec) {
    return spec.getStateCodecValue() == 0
        ? StateCodec.F32
        : StateCodec.ofId(spec.getStateCodecValue());
  }

  /** Parameters that do not take the model's optimizer, and what they take. */
  private static Map<String, String> ownOptimizers(ModelSpec spec) {
    Map<String, String> own = new LinkedHashMap<>();
    for (ParameterSpec parameter : spec.getParametersList()) {
      if (parameter.hasOptimizer()) {
        own.put(parameter.getName(), text(parameter.getOptimizer()));
      }
    }
    return own;
  }

  private static String text(OptimizerSpec spec) {
    StringBuilder text = new StringBuilder(spec.getKind() + " " + spec.getHyperMap());
    if (spec.hasSchedule()) {
      text.append(", schedule ").append(spec.getSchedule().getKind());
      text.append(' ').append(spec.getSchedule().getHyperMap());
    }
    if (spec.getClipValue() > 0) {
      text.append(", gradients clipped to ").append(spec.getClipValue());
    }
    if (spec.getClipNorm() > 0) {
      text.append(", their norm to ").append(spec.getClipNorm());
    }
    if (stateCodec(spec) != StateCodec.F32) {
      text.append(", state in ").append(stateCodec(spec).label());
    }
    if (spec.getRounding() == Rounding.ROUNDING_STOCHASTIC) {
      text.append(", rounded stochastically");
    }
    return text.toString();
  }

  private void text(
      ModelHandle model, long weights, Plan plan, Measured measured, int replicas, int servers) {
    ModelSpec spec = model.model().getSpec();
    long elements = model.parameters().stream().mapToLong(Parameter::elements).sum();
    Output.line(
        "%s: %s, %s, %s%s",
        model.name(),
        model.model().getState(),
        spec.getDurability(),
        spec.getConsistency() + (spec.getStalenessAwareRate() ? ", staleness-aware rate" : ""),
        spec.getOptimizer().getKind().isEmpty() ? "" : ", " + text(spec.getOptimizer()));
    ownOptimizers(spec).forEach((name, own) -> Output.line("%s: %s", name, own));
    Output.line(
        "%d tensors, %s elements, %s of weights a replica, %d replica%s on %d server%s",
        model.tensors().size(),
        Output.count(elements),
        Output.bytes(weights),
        replicas,
        replicas == 1 ? "" : "s",
        servers,
        servers == 1 ? "" : "s");
    model.tables().forEach(table -> Output.line("table %s", TableText.line(table)));
    model
        .aliases()
        .forEach(
            (name, p) ->
                Output.line(
                    "alias %s of %s%s",
                    name,
                    p.tensor().name(),
                    p.isView() ? " from element " + p.firstElement() + " on, " + p.shape() : ""));
    model
        .attachments()
        .values()
        .forEach(file -> Output.line("file %s, %s", file.name(), Output.bytes(file.elements())));
    System.out.println();
    Output.table(
        List.of("ALL SERVERS", "PLANNED", "MEASURED"),
        List.of(
            List.of(
                "weights",
                Output.bytes(plan.weightBytes() * replicas),
                Output.bytes(measured.weights)),
            List.of(
                "optimizer state",
                Output.bytes(plan.storage().optimizerBytes() * replicas),
                Output.bytes(measured.state)),
            List.of(
                "in memory",
                Output.bytes(plan.storage().memoryBytes()),
                Output.bytes(measured.memory)),
            List.of(
                "in RocksDB",
                Output.bytes(plan.storage().diskBytes() - plan.storage().logBytes()),
                Output.bytes(measured.rocksdb)),
            List.of(
                "in the log (all models)",
                Output.bytes(plan.storage().logBytes()),
                Output.bytes(measured.log))));
    if (tensors) {
      System.out.println();
      List<List<String>> rows = new ArrayList<>();
      for (Parameter p : model.tensors()) {
        rows.add(
            List.of(
                p.name(),
                p.dtype().name(),
                p.shape().toString(),
                p.codec().label(),
                Output.count(p.blocks()),
                Output.bytes(p.bytes())));
      }
      Output.table(List.of("TENSOR", "DTYPE", "SHAPE", "CODEC", "BLOCKS", "BYTES"), rows);
    }
  }
}
