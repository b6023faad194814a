package io.tensorhold.server.training;

import io.tensorhold.server.shard.StepFactors;
import org.jspecify.annotations.Nullable;

/**
 * The answer to a push that was not refused.
 *
 * @param logIndex of the entry that holds it; 0 if it is in no log
 * @param term of the leader that did it
 * @param duplicate it had been done before
 * @param sums it is not done: it waits for the factors that these make
 * @param factors that its step was made with, if it has some and they are known
 */
public record PushDone(
    long logIndex,
    long term,
    boolean duplicate,
    @Nullable StepSums sums,
    @Nullable StepFactors factors) {

  /** A push without factors. */
  public PushDone(long logIndex, long term, boolean duplicate) {
    this(logIndex, term, duplicate, null, null);
  }

  /** A push that was done, and the factors of its step. */
  PushDone with(@Nullable StepFactors known) {
    return new PushDone(logIndex, term, duplicate, null, known);
  }
}
