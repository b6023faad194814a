package io.tensorhold.server.training;

import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import io.tensorhold.wire.StepNeeds;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A checked push that is a part of one rank's step.
 *
 * @param modelId of the model, as the catalog counts; {@code mark} names it by its first parameter
 * @param term in which this server leads the shard
 * @param factors of the step, as far as the worker knows them
 * @param withoutPayload the push was sent before, and brings factors only
 */
record StepPush(
    long modelId,
    ModelSpec spec,
    long term,
    StepMark mark,
    PushCommand push,
    Set<ParameterRecord> parameters,
    StepNeeds needs,
    @Nullable StepFactors factors,
    boolean withoutPayload) {

  /** A push of a step whose blocks need to know nothing of each other. */
  StepPush(
      long modelId,
      ModelSpec spec,
      long term,
      StepMark mark,
      PushCommand push,
      Set<ParameterRecord> parameters) {
    this(modelId, spec, term, mark, push, parameters, StepNeeds.NONE, null, false);
  }

  /** A step that a worker's former self has done: it waits for the others as that one would. */
  static StepPush done(Model model, long term, WorkerSession worker, long stepModel, long step) {
    StepMark.Piece piece = new StepMark.Piece(worker.getRank(), 0);
    PushCommand nothing =
        new PushCommand(
            List.of(new Tag(worker.getSession(), 0, 0)),
            PushCommand.Operation.GRADIENT,
            List.of(),
            MemorySegment.NULL);
    StepMark mark = new StepMark(stepModel, step, 0, 1, false, List.of(piece));
    return new StepPush(model.getId(), model.getSpec(), term, mark, nothing, Set.of());
  }

  int rank() {
    return mark.pieces().getFirst().rank();
  }

  Tag tag() {
    return push.tags().getFirst();
  }

  /** Whether these are all the factors that the step takes. */
  boolean suffice(@Nullable StepFactors known) {
    return !needs.any() || (known != null && (!needs.trust() || known.trust().length > 0));
  }

  /** Nanoseconds until a rank that is missing is late. */
  long patience() {
    int millis = spec.getStragglerTimeoutMs();
    return 1_000_000L * (millis == 0 ? Limits.STRAGGLER_DEFAULT_MS : millis);
  }

  StepPush with(@Nullable StepFactors known) {
    return new StepPush(modelId, spec, term, mark, push, parameters, needs, known, false);
  }
}
