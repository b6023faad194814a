package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * Adam as PyTorch's Adam, whose weight decay is added to the gradient, and AdamW, whose weight
 * decay shrinks the weights directly. Slot 0 is the mean of the gradients, slot 1 that of their
 * squares, slot 2, with amsgrad, the largest that slot 1 has been.
 */
public final class Adam extends Optimizer {
  private final double lr;
  private final double beta1;
  private final double beta2;
  private final double eps;
  private final double weightDecay;
  private final boolean amsgrad;
  private final boolean decoupled;

  /**
   * What {@link OptimizerKernels#adam} computes with, rounded to f32.
   *
   * @param keep 1 − lr · weight decay for AdamW, else 1
   * @param weightDecay the decay added to the gradient; 0 for AdamW
   * @param gain1 1 − beta1
   * @param gain2 1 − beta2
   * @param stepSize lr / (1 − beta1^step)
   * @param root2 √(1 − beta2^step)
   */
  public record Factors(
      float keep,
      float weightDecay,
      float gain1,
      float beta2,
      float gain2,
      float stepSize,
      float root2,
      float eps,
      boolean amsgrad) {}

  Adam(String kind, Hyper values) {
    super(kind, values);
    decoupled = kind.equals("adamw");
    lr = values.nonNegative("lr", 1e-3);
    beta1 = values.belowOne("beta1", 0.9);
    beta2 = values.belowOne("beta2", 0.999);
    eps = values.nonNegative("eps", 1e-8);
    weightDecay = values.nonNegative("weight_decay", decoupled ? 1e-2 : 0);
    amsgrad = values.flag("amsgrad");
    values.nonNegative("l1", 0);
  }

  @Override
  public int slots() {
    return amsgrad ? 3 : 2;
  }

  @Override
  boolean signed(int slot) {
    return slot == 0;
  }

  @Override
  public String needsF32State() {
    return amsgrad ? "rounding would raise amsgrad's maximum again and again" : "";
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
    k.adam(factors(step), w, wOff, g, gOff, s, sOff, stride, n);
  }

  // StrictMath: Math.pow may differ in its last bit between processors, and so would replicas.
  private Factors factors(Step step) {
    double rate = lr * step.rate();
    double correction1 = 1 - StrictMath.pow(beta1, (double) step.number());
    double correction2 = 1 - StrictMath.pow(beta2, (double) step.number());
    return new Factors(
        decoupled ? (float) (1 - rate * weightDecay) : 1f,
        decoupled ? 0f : (float) weightDecay,
        (float) (1 - beta1),
        (float) beta2,
        (float) (1 - beta2),
        (float) (rate / correction1),
        (float) Math.sqrt(correction2),
        (float) eps,
        amsgrad);
  }
}
