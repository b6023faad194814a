package io.tensorhold.client.plan;

import io.tensorhold.client.plan.Plan.GroupBytes;
import io.tensorhold.client.plan.Plan.ServerBytes;
import io.tensorhold.client.plan.Plan.StoragePlan;
import io.tensorhold.client.plan.Plan.TrainingPlan;
import io.tensorhold.client.plan.PlanRequest.Storage;
import io.tensorhold.client.plan.PlanRequest.Training;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** From what a model is and what is asked for to the figures of a {@link Plan}. */
final class PlanFormula {
  private PlanFormula() {}

  static Plan plan(ParameterCount parameters, @Nullable ModelConfig model, PlanRequest request) {
    List<GroupBytes> groups =
        parameters.groups().stream()
            .map(g -> new GroupBytes(g, g.codec(request.codec()), g.bytes(request.codec())))
            .toList();
    long weightBytes = parameters.bytes(request.codec());
    return new Plan(
        parameters.total(),
        weightBytes,
        groups,
        storage(groups, parameters, weightBytes, request),
        training(trainable(parameters), model, request));
  }

  /** Only what is computed with has gradients and optimizer state. */
  private static long trainable(ParameterCount parameters) {
    return parameters.groups().stream()
        .filter(g -> g.dtype().computable())
        .mapToLong(ParameterCount.Group::total)
        .reduce(0, Math::addExact);
  }

  private static StoragePlan storage(
      List<GroupBytes> groups, ParameterCount parameters, long weightBytes, PlanRequest request) {
    Storage storage = request.storage();
    double perElement = request.optimizer().bytesPerElement();
    long optimizerBytes = times(trainable(parameters), perElement);
    long stateBytes = Math.addExact(weightBytes, optimizerBytes);
    long versionBytes = times(stateBytes, storage.versions() * storage.changedShare());
    long copyBytes = Math.addExact(stateBytes, versionBytes);
    long blocks = 0;
    double squares = 0;
    for (GroupBytes g : groups) {
      blocks = Math.addExact(blocks, blocksOf(g.group(), storage.blockElements()));
      squares += squaresOf(g, perElement, storage.blockElements());
    }
    ServerLoad load = ServerLoad.of(storage, (double) stateBytes, squares);
    ServerBytes average =
        server(
            storage,
            copyBytes,
            stateBytes,
            load.averageShare(),
            load.averageShare() * storage.shards());
    ServerBytes fullest =
        server(storage, copyBytes, stateBytes, load.fullestShare(), load.fullestShards());
    long replicas = storage.replicas();
    long logBytes = Math.multiplyExact(replicas * storage.shards(), storage.logBytesPerShard());
    long liveDisk = times(copyBytes, replicas * storage.spaceAmplification());
    return new StoragePlan(
        optimizerBytes,
        versionBytes,
        copyBytes,
        blocks,
        Math.addExact(liveDisk, logBytes),
        logBytes,
        times(stateBytes, replicas * storage.memoryShare()),
        average,
        fullest);
  }

  private static long blocksOf(ParameterCount.Group group, int blockElements) {
    return Math.multiplyExact(Math.ceilDiv(group.elements(), (long) blockElements), group.copies());
  }

  /** Σs² over a group's blocks, s being a block's bytes with its optimizer state. */
  private static double squaresOf(GroupBytes g, double statePerElement, int blockElements) {
    ParameterCount.Group group = g.group();
    if (group.total() == 0) {
      return 0;
    }
    double each = (double) g.bytes() / group.total();
    each += group.dtype().computable() ? statePerElement : 0;
    double full = blockElements * each;
    double tail = group.elements() % blockElements * each;
    long whole = group.elements() / blockElements;
    return (double) group.copies() * (whole * full * full + tail * tail);
  }

  private static ServerBytes server(
      Storage storage, long copyBytes, long stateBytes, double share, double shards) {
    long log = times(storage.logBytesPerShard(), shards);
    long disk = Math.addExact(times(copyBytes, share * storage.spaceAmplification()), log);
    return new ServerBytes(disk, log, times(stateBytes, share * storage.memoryShare()));
  }

  private static TrainingPlan training(
      long parameters, @Nullable ModelConfig model, PlanRequest request) {
    Training t = request.training();
    double optimizer = t.masterBytes() + request.optimizer().bytesPerElement();
    Long perLayer = model == null ? null : activationsPerLayer(model, t);
    return new TrainingPlan(
        times(parameters, (double) t.weightBytes() / (t.zeroStage() >= 3 ? t.ranks() : 1)),
        times(parameters, (double) t.gradientBytes() / (t.zeroStage() >= 2 ? t.ranks() : 1)),
        times(parameters, optimizer / (t.zeroStage() >= 1 ? t.ranks() : 1)),
        perLayer,
        perLayer == null || model == null ? null : Math.multiplyExact(perLayer, model.layers()));
  }

  /** 16-bit activations of one layer, by the formulas of {@link PlanRequest.Recomputation}. */
  private static long activationsPerLayer(ModelConfig model, Training t) {
    long sb = Math.multiplyExact(t.sequence(), t.batch());
    long sbh = Math.multiplyExact(sb, model.hidden());
    return switch (t.recomputation()) {
      case FULL -> Math.multiplyExact(2, sbh);
      case SELECTIVE -> Math.multiplyExact(34, sbh);
      case NONE -> {
        long scores = Math.multiplyExact(Math.multiplyExact(5 * model.heads(), t.sequence()), sb);
        yield Math.addExact(Math.multiplyExact(34, sbh), scores);
      }
    };
  }

  /** A product rounded to whole bytes; one past a long is an error, not the largest long. */
  private static long times(long bytes, double factor) {
    return BigDecimal.valueOf(bytes)
        .multiply(BigDecimal.valueOf(factor))
        .setScale(0, RoundingMode.HALF_UP)
        .longValueExact();
  }
}
