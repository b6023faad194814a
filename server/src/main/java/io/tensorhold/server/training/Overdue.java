package io.tensorhold.server.training;

import java.util.Set;

/**
 * A step whose missing ranks are late, as it was when that was seen.
 *
 * @param any of the pushes that have come
 */
record Overdue(StepKey key, GatheredStep step, StepPush any, Set<Integer> missing) {
  /** What it lacks, for people. */
  String lacks(Roster roster) {
    return "step %d of model \"%s\" (part %d) lacks %s after %d ms"
        .formatted(
            key.step(),
            any.spec().getName(),
            key.part(),
            roster.describe(any.modelId(), missing),
            any.patience() / 1_000_000);
  }
}
