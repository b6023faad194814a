package io.tensorhold.server.training;

import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.StepMark;
import java.util.Set;

/**
 * A checked push that is a part of one rank's step.
 *
 * @param modelId of the model, as the catalog counts; {@code mark} names it by its first parameter
 * @param term in which this server leads the shard
 */
record StepPush(
    long modelId,
    ModelSpec spec,
    long term,
    StepMark mark,
    PushCommand push,
    Set<ParameterRecord> parameters) {

  int rank() {
    return mark.pieces().getFirst().rank();
  }

  Tag tag() {
    return push.tags().getFirst();
  }

  /** Nanoseconds until a rank that is missing is late. */
  long patience() {
    int millis = spec.getStragglerTimeoutMs();
    return 1_000_000L * (millis == 0 ? Limits.STRAGGLER_DEFAULT_MS : millis);
  }

  StepPush with(PushCommand other) {
    return new StepPush(modelId, spec, term, mark, other, parameters);
  }
}
