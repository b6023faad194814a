package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * FTRL-Proximal with per-coordinate rates (McMahan et al.: "Ad Click Prediction: a View from the
 * Trenches", KDD 2013, algorithm 1). Slot 0 is z, slot 1 is n, the sum of the gradients' squares.
 *
 * <p>Weights are a function of z and n: what they were before a block's first step counts only by
 * its share σ · w in z. l1 and l2 are the paper's λ1 and λ2, inside the rule.
 */
public final class Ftrl extends Optimizer {
  private final Factors factors;

  /**
   * What {@link OptimizerKernels#ftrl} computes with, rounded to f32.
   *
   * @param inverseAlpha 1 / alpha
   * @param strength beta / alpha + l2
   */
  public record Factors(float inverseAlpha, float strength, float l1) {}

  Ftrl(Hyper values) {
    super("ftrl", values);
    double alpha = values.positive("alpha", 0.1);
    double beta = values.nonNegative("beta", 1);
    double l1 = values.nonNegative("l1", 0);
    double l2 = values.nonNegative("l2", 0);
    factors = new Factors((float) (1 / alpha), (float) (beta / alpha + l2), (float) l1);
  }

  @Override
  public int slots() {
    return 2;
  }

  @Override
  boolean signed(int slot) {
    return slot == 0;
  }

  /** None beside the one inside the rule. */
  @Override
  float l1() {
    return 0;
  }

  @Override
  public boolean hasRate() {
    return false;
  }

  @Override
  public String needsF32State() {
    return "its weights are computed from its state";
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
    k.ftrl(factors, w, wOff, g, gOff, s, sOff, stride, n);
  }
}
