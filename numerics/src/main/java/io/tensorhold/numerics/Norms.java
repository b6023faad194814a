package io.tensorhold.numerics;

/**
 * What clipping and LAMB compute from sums of squares over blocks.
 *
 * <p>The order of such a sum is fixed: {@link OptimizerKernels#sumOfSquares} inside a block, then
 * blocks one after another in the order of parameter id and block, in f64, from 0.
 */
public final class Norms {
  private Norms() {}

  /** Clips a gradient by value, as it is before its norm is taken; 0: not at all. */
  public static void clip(
      Kernels k, double limit, java.lang.foreign.MemorySegment g, long offset, int n) {
    Hyper.checkOperand(g, offset, n);
    if (limit > 0) {
      k.optimizers().clamp((float) limit, g, offset, n);
    }
  }

  /** Σ x² over f32 values. */
  public static double sumOfSquares(
      Kernels k, java.lang.foreign.MemorySegment x, long offset, int n) {
    Hyper.checkOperand(x, offset, n);
    return k.optimizers().sumOfSquares(x, offset, n);
  }

  /**
   * What gradients are multiplied by so that their global norm is at most {@code limit}, as
   * PyTorch's clip_grad_norm_: min(1, limit / (norm + 1e-6)).
   *
   * @param squares Σ g² over all blocks of all parameters
   */
  public static float clipCoefficient(double squares, double limit) {
    return (float) Math.min(1, limit / (Math.sqrt(squares) + 1e-6));
  }

  /**
   * LAMB's trust ratio of a parameter: ‖w‖ / ‖u‖, or 1 if either is 0.
   *
   * @param weights Σ w² over the parameter's blocks
   * @param directions Σ u² over the same
   */
  public static float trustRatio(double weights, double directions) {
    return weights > 0 && directions > 0 ? (float) Math.sqrt(weights / directions) : 1;
  }
}
