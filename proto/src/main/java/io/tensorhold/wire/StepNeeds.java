package io.tensorhold.wire;

import io.tensorhold.proto.v1.ModelSpec;

/**
 * Which sums over all blocks the steps of a model take; the protocol calls what is made of them the
 * step's factors.
 *
 * @param scale the norm of the whole gradient, to clip it
 * @param trust the norms of each parameter's weights and direction, for LAMB
 */
public record StepNeeds(boolean scale, boolean trust) {
  /** Of a step that each block makes by itself. */
  public static final StepNeeds NONE = new StepNeeds(false, false);

  private static final String LAMB = "lamb";

  /** What a model needs, as the catalog completed its specification. */
  public static StepNeeds of(ModelSpec spec) {
    boolean shared = spec.getOptimizer().getKind().equals(LAMB);
    return new StepNeeds(
        spec.getOptimizer().getClipNorm() > 0,
        spec.getParametersList().stream()
            .anyMatch(
                one -> one.hasOptimizer() ? one.getOptimizer().getKind().equals(LAMB) : shared));
  }

  /** Whether a step has factors. */
  public boolean any() {
    return scale || trust;
  }
}
