package io.tensorhold.server.shard;

import io.tensorhold.server.shard.StepMark.Piece;
import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The steps that a shard has seen, model by model. It is part of the replicated state and flushed
 * with the blocks of the same moment, so that counters and weights never tell different stories. A
 * model goes by the id of its first parameter, and goes when that is dropped.
 */
final class StepTable {
  private final TreeMap<Long, ModelSteps> models = new TreeMap<>(Long::compareUnsigned);

  @Nullable Outcome objection(StepMark mark, Piece piece, long session) {
    ModelSteps steps = models.get(mark.model());
    return (steps == null ? new ModelSteps() : steps).objection(mark, piece, session);
  }

  void applied(StepMark mark, Piece piece, long session) {
    of(mark.model()).applied(mark, piece, session);
  }

  Outcome claim(Entry.Command.Claim claim, DroppedParameters dropped) {
    return dropped.contains(claim.model())
        ? Outcome.INVALID
        : of(claim.model()).claim(claim.rank(), claim.session(), claim.together(), claim.base());
  }

  /** Whether it has counted a step of a model. */
  boolean knows(long model) {
    return models.containsKey(model);
  }

  /** A copy of what it knows of a model. */
  ModelSteps copy(long model) {
    ModelSteps steps = models.get(model);
    return steps == null ? new ModelSteps() : ModelSteps.of(steps.toBytes());
  }

  /** Goes on from what another table knows of a model. */
  void put(long model, ModelSteps steps) {
    models.put(model, steps);
  }

  /** Takes up the steps of a checkpoint; see {@link ModelSteps#adopt}. */
  Outcome adopt(long model, ModelSteps steps, DroppedParameters dropped) {
    if (dropped.contains(model)) {
      return Outcome.INVALID;
    }
    of(model).adopt(steps);
    return Outcome.APPLIED;
  }

  void clear() {
    models.clear();
  }

  private ModelSteps of(long model) {
    return models.computeIfAbsent(model, id -> new ModelSteps());
  }

  Map<Integer, RankStep> ranks(long model) {
    ModelSteps steps = models.get(model);
    return steps == null ? Map.of() : steps.ranks();
  }

  long closedStep(long model) {
    ModelSteps steps = models.get(model);
    return steps == null ? 0 : steps.closedStep();
  }

  @Nullable StepFactors factors(long model, long step) {
    ModelSteps steps = models.get(model);
    return steps == null ? null : steps.factors(step);
  }

  void drop(long first, long last) {
    models.keySet().removeIf(model -> DroppedParameters.between(first, model, last));
  }

  /**
   *
   *
   * <pre>u32 n, n × (u64 model, steps (see {@link ModelSteps#write}))</pre>
   */
  void write(DataOutput out) throws IOException {
    out.writeInt(models.size());
    for (Map.Entry<Long, ModelSteps> entry : models.entrySet()) {
      out.writeLong(entry.getKey());
      entry.getValue().write(out);
    }
  }

  void read(DataInput in, boolean withFactors) throws IOException {
    models.clear();
    int count = in.readInt();
    for (int i = 0; i < count; i++) {
      long model = in.readLong();
      models.put(model, ModelSteps.read(in, withFactors));
    }
  }
}
