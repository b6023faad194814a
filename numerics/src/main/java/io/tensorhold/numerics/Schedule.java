package io.tensorhold.numerics;

import java.util.Map;

/**
 * What the learning rate is multiplied by at a step: a linear warm-up, then a curve.
 *
 * <p>Steps are those of a block, which depend on the log alone. With e the number of steps made
 * before, W {@code warmup} and s {@code warmup_start}, the factor is s + (1 − s) · e / W while e <
 * W, PyTorch's LinearLR; then, with e counted from the end of the warm-up, as SequentialLR does:
 *
 * <pre>
 * constant      1
 * step          gamma^⌊e / size⌋                                        StepLR
 * cosine        floor + (1 − floor) · (1 + cos(π · e / period)) / 2     CosineAnnealingLR;
 *               floor from e = period on
 * inverse_sqrt  √(timescale / (e + timescale))                          as Hugging Face's
 * </pre>
 */
public final class Schedule {
  /** The kinds that {@link #of} takes, for messages. */
  public static final String KINDS = "constant, step, cosine, inverse_sqrt";

  /** The rate as it is, at every step. */
  public static final Schedule CONSTANT = of("constant", Map.of());

  private static final long LONGEST = 1_000_000_000_000L;

  private final String kind;
  private final Map<String, Double> hyper;
  private final long warmup;
  private final double warmupStart;
  private final Curve curve;

  private interface Curve {
    double at(long e);
  }

  private Schedule(String kind, Hyper values, Curve curve) {
    this.kind = kind;
    this.curve = curve;
    warmup = values.whole("warmup", 0, 0, LONGEST);
    warmupStart = values.share("warmup_start", 0);
    hyper = values.complete();
    values.refuseUnknown();
  }

  /**
   * The schedule of a kind, one of {@link #KINDS}; "" is constant.
   *
   * @throws IllegalArgumentException if the kind or a name is unknown, a value is missing or out of
   *     its range; the message names the value and the range
   */
  public static Schedule of(String kind, Map<String, Double> given) {
    Hyper values = new Hyper("schedule " + kind, given);
    return switch (kind) {
      case "", "constant" -> new Schedule("constant", values, e -> 1);
      case "step" -> {
        double gamma = values.share("gamma", 0.1);
        long size = values.whole("size", 0, 1, LONGEST);
        yield new Schedule(
            kind, values, e -> StrictMath.pow(gamma, (double) Math.floorDiv(e, size)));
      }
      case "cosine" -> {
        long period = values.whole("period", 0, 1, LONGEST);
        double floor = values.share("floor", 0);
        yield new Schedule(kind, values, e -> cosine(Math.min(e, period), period, floor));
      }
      case "inverse_sqrt" -> {
        double timescale = (double) values.whole("timescale", 10_000, 1, LONGEST);
        yield new Schedule(kind, values, e -> Math.sqrt(timescale / (e + timescale)));
      }
      default ->
          throw new IllegalArgumentException(
              "unknown schedule: value=\"%s\" known=%s".formatted(kind, KINDS));
    };
  }

  private static double cosine(long e, long period, double floor) {
    return floor + (1 - floor) * (1 + StrictMath.cos(Math.PI * e / period)) / 2;
  }

  /** The factor at a step, counted from 1. */
  public double factor(long step) {
    long e = step - 1;
    if (e < warmup) {
      return warmupStart + (1 - warmupStart) * e / warmup;
    }
    return curve.at(e - warmup);
  }

  /** The kind that {@link #of} takes. */
  public String kind() {
    return kind;
  }

  /** All its numbers, defaults included; {@link #of} takes them back. */
  public Map<String, Double> hyper() {
    return hyper;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Schedule that && kind.equals(that.kind) && hyper.equals(that.hyper);
  }

  @Override
  public int hashCode() {
    return hyper.hashCode();
  }

  /** Such as {@code cosine {period=1000.0, floor=0.0, warmup=100.0, warmup_start=0.0}}. */
  @Override
  public String toString() {
    return kind + " " + hyper;
  }
}
