package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * LAMB (You et al.: "Large Batch Optimization for Deep Learning", ICLR 2020, algorithm 2), with φ
 * the identity. Slots are Adam's: the mean of the gradients and that of their squares.
 *
 * <p>The direction u is Adam's plus weight decay · w, and the weights move by lr · trust · u. The
 * trust ratio ‖w‖ / ‖u‖ of a whole parameter is not known here: it comes with the step, from {@link
 * Norms#trustRatio} over what {@link #direction} gives for every block.
 */
public final class Lamb extends Optimizer {
  private final double lr;
  private final double beta1;
  private final double beta2;
  private final double eps;
  private final double weightDecay;

  /**
   * What {@link OptimizerKernels#lamb} computes with, rounded to f32.
   *
   * @param rate lr · trust
   * @param gain1 1 − beta1
   * @param gain2 1 − beta2
   * @param inverse1 1 / (1 − beta1^step)
   * @param inverseRoot2 1 / √(1 − beta2^step)
   */
  public record Factors(
      float rate,
      float gain1,
      float beta2,
      float gain2,
      float inverse1,
      float inverseRoot2,
      float eps,
      float weightDecay) {}

  Lamb(Hyper values) {
    super("lamb", values);
    lr = values.nonNegative("lr", 1e-3);
    beta1 = values.belowOne("beta1", 0.9);
    beta2 = values.belowOne("beta2", 0.999);
    eps = values.nonNegative("eps", 1e-6);
    weightDecay = values.nonNegative("weight_decay", 0.01);
    values.nonNegative("l1", 0);
  }

  @Override
  public int slots() {
    return 2;
  }

  @Override
  boolean signed(int slot) {
    return slot == 0;
  }

  @Override
  public boolean needsTrust() {
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
    k.lamb(factors(step), w, wOff, g, gOff, s, sOff, stride, n);
  }

  /**
   * Replaces the gradients {@code g} by the directions u that {@code step} would move the weights
   * along; weights and state are left as they are. Operands are as in {@code step}.
   */
  public void direction(
      Kernels k,
      Step step,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    Hyper.checkOperand(w, wOff, n);
    Hyper.checkOperand(g, gOff, n);
    Hyper.checkOperand(s, sOff, n);
    Hyper.checkOperand(s, sOff + stride, n);
    k.optimizers().lambDirection(factors(step), w, wOff, g, gOff, s, sOff, stride, n);
  }

  private Factors factors(Step step) {
    double correction1 = 1 - StrictMath.pow(beta1, (double) step.number());
    double correction2 = 1 - StrictMath.pow(beta2, (double) step.number());
    return new Factors(
        (float) (lr * step.rate() * step.trust()),
        (float) (1 - beta1),
        (float) beta2,
        (float) (1 - beta2),
        (float) (1 / correction1),
        (float) (1 / Math.sqrt(correction2)),
        (float) eps,
        (float) weightDecay);
  }
}
