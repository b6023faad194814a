package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Map;

/**
 * What a row of a table holds before anything was written to it.
 *
 * <p>Every element is a function of the seed of its row and of its index, so that a row that was
 * never written reads the same on every server at any time, and takes no memory. Random bits are
 * {@link StochasticRounding#bits}; values are f32, the same from SIMD and scalar kernels.
 *
 * <pre>
 * zeros             0
 * constant          value (0)
 * uniform           low (−0.05) to high (0.05): low + u · (high − low), u of 2²⁴ equal steps
 * normal            mean (0), std (0.05)
 * truncated_normal  the same, no further from the mean than 2 std; the rest is spread over the inside
 * xavier            uniform, ±√(6 / (fan_in + fan_out)); both are the row's length unless they are
 *                   given (Glorot, Bengio: "Understanding the difficulty of training deep feedforward
 *                   neural networks", 2010)
 * </pre>
 */
public final class Initializer {
  /** The kinds that {@link #of} takes, for messages. */
  public static final String KINDS = "zeros, constant, uniform, normal, truncated_normal, xavier";

  /** Share of a normal distribution within two standard deviations of its mean: erf(√2). */
  private static final float WITHIN_TWO = 0.9544997f;

  private final String kind;
  private final Hyper values;
  private final boolean normal;
  private final float first;
  private final float second;

  private Initializer(String kind, Hyper values, int dim) {
    this.kind = kind;
    this.values = values;
    this.normal = kind.endsWith("normal");
    switch (kind) {
      case "zeros" -> {
        first = 0;
        second = 0;
      }
      case "constant" -> {
        first = (float) values.signed("value", 0);
        second = 0;
      }
      case "uniform" -> {
        double low = values.signed("low", -0.05);
        double high = values.signed("high", 0.05);
        if (low > high) {
          throw new IllegalArgumentException(
              "uniform begins above its end: low=%s high=%s allowed=low up to high"
                  .formatted(low, high));
        }
        first = (float) low;
        second = (float) (high - low);
      }
      case "normal", "truncated_normal" -> {
        first = (float) values.signed("mean", 0);
        second = (float) values.nonNegative("std", 0.05);
      }
      case "xavier" -> {
        double fans = values.positive("fan_in", dim) + values.positive("fan_out", dim);
        double bound = Math.sqrt(6 / fans);
        first = (float) -bound;
        second = (float) (2 * bound);
      }
      default ->
          throw new IllegalArgumentException(
              "unknown initializer: value=\"%s\" known=%s".formatted(kind, KINDS));
    }
    values.refuseUnknown();
  }

  /**
   * The initializer of a kind, one of {@link #KINDS}; numbers that are absent take the defaults.
   *
   * @param dim elements of a row
   * @throws IllegalArgumentException if the kind or a name is unknown, or a value is out of range
   */
  public static Initializer of(String kind, Map<String, Double> given, int dim) {
    return new Initializer(kind, new Hyper(kind, given), dim);
  }

  /** The kind that {@link #of} takes. */
  public String kind() {
    return kind;
  }

  /** All numbers, defaults included; {@link #of} takes them back. */
  public Map<String, Double> hyper() {
    return values.complete();
  }

  /** The seed of a row: of the table's seed and the row's key. */
  public static long rowSeed(long tableSeed, long key) {
    return StochasticRounding.seed(tableSeed, key, 0, 0);
  }

  /** Whether every element of every row is +0. */
  public boolean zeros() {
    return second == 0 && Float.floatToRawIntBits(first) == 0;
  }

  /**
   * Writes a row.
   *
   * @param seed see {@link #rowSeed}
   * @throws IndexOutOfBoundsException if the segment is too short; nothing is written then
   */
  public void fill(Kernels k, long seed, MemorySegment f32, long offset, int n) {
    Hyper.checkOperand(f32, offset, n);
    if (!normal) {
      k.random().uniform(seed, first, second, f32, offset, n);
    } else if (kind.equals("normal")) {
      k.random().normal(seed, 1, Float.MAX_VALUE, first, second, f32, offset, n);
    } else {
      k.random().normal(seed, WITHIN_TWO, 2, first, second, f32, offset, n);
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Initializer that
        && kind.equals(that.kind)
        && hyper().equals(that.hyper());
  }

  @Override
  public int hashCode() {
    return hyper().hashCode();
  }

  /** Such as {@code uniform {low=-0.05, high=0.05}}. */
  @Override
  public String toString() {
    return kind + " " + hyper();
  }
}
