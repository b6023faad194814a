package io.tensorhold.numerics;

/**
 * How updated weights are rounded to a codec narrower than f32. Ids are on disk and in the
 * protocol: do not change them.
 */
public enum Rounding {
  /** As the codec says. */
  NEAREST(0),
  /** Up or down with probabilities that make the mean exact, by a counter-based hash. */
  STOCHASTIC(1);

  private final int id;

  Rounding(int id) {
    this.id = id;
  }

  /** The persistent number: on disk, do not change. */
  public int id() {
    return id;
  }

  /**
   * The rounding with a persistent number.
   *
   * @throws IllegalArgumentException if none has it
   */
  public static Rounding ofId(int id) {
    return switch (id) {
      case 0 -> NEAREST;
      case 1 -> STOCHASTIC;
      default ->
          throw new IllegalArgumentException("rounding: value=%d allowed=0..1".formatted(id));
    };
  }
}
