package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/** Adagrad as PyTorch's. Its slot is the sum of the gradients' squares. */
public final class Adagrad extends Optimizer {
  private final double lr;
  private final double lrDecay;
  private final float weightDecay;
  private final float initial;
  private final float eps;

  /**
   * What {@link OptimizerKernels#adagrad} computes with, rounded to f32.
   *
   * @param stepSize lr / (1 + (step − 1) · lr_decay)
   */
  public record Factors(float stepSize, float weightDecay, float eps) {}

  Adagrad(Hyper values) {
    super("adagrad", values);
    lr = values.nonNegative("lr", 1e-2);
    lrDecay = values.nonNegative("lr_decay", 0);
    weightDecay = (float) values.nonNegative("weight_decay", 0);
    initial = (float) values.nonNegative("initial_accumulator", 0);
    eps = (float) values.nonNegative("eps", 1e-10);
    values.nonNegative("l1", 0);
  }

  @Override
  public int slots() {
    return 1;
  }

  @Override
  public float initial(int slot) {
    return initial;
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
    double stepSize = lr * step.rate() / (1 + (step.number() - 1) * lrDecay);
    Factors f = new Factors((float) stepSize, weightDecay, eps);
    k.adagrad(f, w, wOff, g, gOff, s, sOff, stride, n);
  }
}
