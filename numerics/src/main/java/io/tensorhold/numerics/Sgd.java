package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Map;

/** Stochastic gradient descent as PyTorch's SGD: momentum, dampening, weight decay, Nesterov. */
public final class Sgd implements Optimizer {
  static final String KIND = "sgd";

  private final Factors first;
  private final Factors later;
  private final Map<String, Double> hyper;

  /**
   * What {@link Kernels#sgd} multiplies by, rounded to f32.
   *
   * @param gain 1 − dampening
   * @param first whether the momentum buffer becomes the gradient, as at step 1
   */
  public record Factors(
      float lr, float momentum, float gain, float weightDecay, boolean nesterov, boolean first) {}

  Sgd(Map<String, Double> given) {
    Hyper values = new Hyper(KIND, given);
    float lr = (float) values.nonNegative("lr", 1e-3);
    double exactMomentum = values.nonNegative("momentum", 0);
    double dampening = values.signed("dampening", 0);
    float decay = (float) values.nonNegative("weight_decay", 0);
    boolean nesterov = values.flag("nesterov");
    hyper = values.complete();
    if (nesterov && (exactMomentum == 0 || dampening != 0)) {
      throw new IllegalArgumentException(
          "nesterov=1 needs momentum above 0 and dampening 0: value=%s and %s"
              .formatted(exactMomentum, dampening));
    }
    float momentum = (float) exactMomentum;
    float gain = (float) (1 - dampening);
    first = new Factors(lr, momentum, gain, decay, nesterov, true);
    later = new Factors(lr, momentum, gain, decay, nesterov, false);
  }

  @Override
  public String kind() {
    return KIND;
  }

  @Override
  public Map<String, Double> hyper() {
    return hyper;
  }

  /** 1, the momentum buffer, or 0 without momentum. */
  @Override
  public int slots() {
    return first.momentum() == 0 ? 0 : 1;
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
    if (slots() == 1) {
      Hyper.checkOperand(state, stateOff, n);
    }
    k.sgd(step == 1 ? first : later, w, wOff, g, gOff, state, stateOff, n);
  }
}
