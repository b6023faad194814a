package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/** Adadelta as PyTorch's. Slot 0 is the mean of the gradients' squares, slot 1 of the updates'. */
public final class Adadelta extends Optimizer {
  private final double lr;
  private final double rho;
  private final float eps;
  private final float weightDecay;

  /**
   * What {@link OptimizerKernels#adadelta} computes with, rounded to f32.
   *
   * @param gain 1 − rho
   */
  public record Factors(float lr, float rho, float gain, float eps, float weightDecay) {}

  Adadelta(Hyper values) {
    super("adadelta", values);
    lr = values.nonNegative("lr", 1);
    rho = values.belowOne("rho", 0.9);
    eps = (float) values.nonNegative("eps", 1e-6);
    weightDecay = (float) values.nonNegative("weight_decay", 0);
    values.nonNegative("l1", 0);
  }

  @Override
  public int slots() {
    return 2;
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
        new Factors((float) (lr * step.rate()), (float) rho, (float) (1 - rho), eps, weightDecay);
    k.adadelta(f, w, wOff, g, gOff, s, sOff, stride, n);
  }
}
