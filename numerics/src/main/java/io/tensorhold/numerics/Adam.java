package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Map;

/**
 * Adam as PyTorch's Adam, whose weight decay is added to the gradient, and AdamW, whose weight
 * decay shrinks the weights directly. Slot 0 is the mean of the gradients, slot 1 that of their
 * squares.
 */
public final class Adam implements Optimizer {
  static final String COUPLED = "adam";
  static final String DECOUPLED = "adamw";

  private final String kind;
  private final double lr;
  private final double beta1;
  private final double beta2;
  private final double eps;
  private final double weightDecay;
  private final Map<String, Double> hyper;

  /**
   * What {@link Kernels#adam} computes with, rounded to f32.
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
      float eps) {}

  Adam(String kind, Map<String, Double> given) {
    this.kind = kind;
    Hyper values = new Hyper(kind, given);
    lr = values.nonNegative("lr", 1e-3);
    beta1 = values.belowOne("beta1", 0.9);
    beta2 = values.belowOne("beta2", 0.999);
    eps = values.nonNegative("eps", 1e-8);
    weightDecay = values.nonNegative("weight_decay", kind.equals(DECOUPLED) ? 1e-2 : 0);
    hyper = values.complete();
  }

  @Override
  public String kind() {
    return kind;
  }

  @Override
  public Map<String, Double> hyper() {
    return hyper;
  }

  @Override
  public int slots() {
    return 2;
  }

  @Override
  public void step(
      Kernels k,
      long step,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment state,
      long stateOff,
      long slotStride,
      int n) {
    Hyper.checkStep(step);
    Hyper.checkOperand(w, wOff, n);
    Hyper.checkOperand(g, gOff, n);
    Hyper.checkOperand(state, stateOff, n);
    Hyper.checkOperand(state, stateOff + slotStride, n);
    k.adam(factors(step), w, wOff, g, gOff, state, stateOff, state, stateOff + slotStride, n);
  }

  // StrictMath: Math.pow may differ in its last bit between processors, and so would replicas.
  private Factors factors(long step) {
    boolean decoupled = kind.equals(DECOUPLED);
    double correction1 = 1 - StrictMath.pow(beta1, (double) step);
    double correction2 = 1 - StrictMath.pow(beta2, (double) step);
    return new Factors(
        decoupled ? (float) (1 - lr * weightDecay) : 1f,
        decoupled ? 0f : (float) weightDecay,
        (float) (1 - beta1),
        (float) beta2,
        (float) (1 - beta2),
        (float) (lr / correction1),
        (float) Math.sqrt(correction2),
        (float) eps);
  }
}
