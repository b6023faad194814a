package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * RMSprop as PyTorch's. Slot 0 is the mean of the gradients' squares; then come the mean of the
 * gradients, if centered, and the momentum buffer, if there is momentum.
 */
public final class RmsProp extends Optimizer {
  private final double lr;
  private final double alpha;
  private final float eps;
  private final float weightDecay;
  private final float momentum;
  private final boolean centered;

  /**
   * What {@link OptimizerKernels#rmsProp} computes with, rounded to f32.
   *
   * @param gain 1 − alpha
   */
  public record Factors(
      float lr,
      float alpha,
      float gain,
      float eps,
      float weightDecay,
      float momentum,
      boolean centered) {}

  RmsProp(Hyper values) {
    super("rmsprop", values);
    lr = values.nonNegative("lr", 1e-2);
    alpha = values.belowOne("alpha", 0.99);
    eps = (float) values.nonNegative("eps", 1e-8);
    weightDecay = (float) values.nonNegative("weight_decay", 0);
    momentum = (float) values.nonNegative("momentum", 0);
    centered = values.flag("centered");
    values.nonNegative("l1", 0);
  }

  @Override
  public int slots() {
    return 1 + (centered ? 1 : 0) + (momentum > 0 ? 1 : 0);
  }

  @Override
  boolean signed(int slot) {
    return slot > 0;
  }

  @Override
  public String needsF32State() {
    return centered ? "a variance, the difference of two means, would lose its sign" : "";
  }

  @Override
  void update(
      OptimizerKernels k,
      Step step,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    Factors f =
        new Factors(
            (float) (lr * step.rate()),
            (float) alpha,
            (float) (1 - alpha),
            eps,
            weightDecay,
            momentum,
            centered);
    k.rmsProp(f, w, wOff, g, gOff, s, sOff, stride, n);
  }
}
