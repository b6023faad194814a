package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/** Stochastic gradient descent as PyTorch's SGD: momentum, dampening, weight decay, Nesterov. */
public final class Sgd extends Optimizer {
  private final double lr;
  private final float momentum;
  private final float gain;
  private final float weightDecay;
  private final boolean nesterov;

  /**
   * What {@link OptimizerKernels#sgd} multiplies by, rounded to f32.
   *
   * @param gain 1 − dampening
   * @param first whether the momentum buffer becomes the gradient, as at step 1
   */
  public record Factors(
      float lr, float momentum, float gain, float weightDecay, boolean nesterov, boolean first) {}

  Sgd(Hyper values) {
    super("sgd", values);
    lr = values.nonNegative("lr", 1e-3);
    double exactMomentum = values.nonNegative("momentum", 0);
    double dampening = values.signed("dampening", 0);
    weightDecay = (float) values.nonNegative("weight_decay", 0);
    nesterov = values.flag("nesterov");
    values.nonNegative("l1", 0);
    if (nesterov && (exactMomentum == 0 || dampening != 0)) {
      throw new IllegalArgumentException(
          "nesterov=1 needs momentum above 0 and dampening 0: value=%s and %s"
              .formatted(exactMomentum, dampening));
    }
    momentum = (float) exactMomentum;
    gain = (float) (1 - dampening);
  }

  /** 1, the momentum buffer, or 0 without momentum. */
  @Override
  public int slots() {
    return momentum == 0 ? 0 : 1;
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
    float rate = (float) (lr * step.rate());
    Factors f = new Factors(rate, momentum, gain, weightDecay, nesterov, step.number() == 1);
    k.sgd(f, w, wOff, g, gOff, s, sOff, stride, n);
  }
}
