package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * Lion (Chen et al.: "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2), its
 * weight decay decoupled. Its slot is the momentum.
 */
public final class Lion extends Optimizer {
  private final double lr;
  private final double beta1;
  private final double beta2;
  private final double weightDecay;

  /**
   * What {@link OptimizerKernels#lion} computes with, rounded to f32.
   *
   * @param keep 1 − lr · weight decay
   * @param gain1 1 − beta1
   * @param gain2 1 − beta2
   */
  public record Factors(float lr, float keep, float beta1, float gain1, float beta2, float gain2) {}

  Lion(Hyper values) {
    super("lion", values);
    lr = values.nonNegative("lr", 1e-4);
    beta1 = values.belowOne("beta1", 0.9);
    beta2 = values.belowOne("beta2", 0.99);
    weightDecay = values.nonNegative("weight_decay", 0);
    values.nonNegative("l1", 0);
  }

  @Override
  public int slots() {
    return 1;
  }

  @Override
  boolean signed(int slot) {
    return true;
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
    double rate = lr * step.rate();
    Factors f =
        new Factors(
            (float) rate,
            (float) (1 - rate * weightDecay),
            (float) beta1,
            (float) (1 - beta1),
            (float) beta2,
            (float) (1 - beta2));
    k.lion(f, w, wOff, g, gOff, s, sOff, stride, n);
  }
}
