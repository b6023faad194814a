package io.tensorhold.numerics;

/**
 * The counter-based hash that takes the place of random numbers: the same for the same words,
 * everywhere. What it gives decides stored bytes: do not change.
 */
public final class Hash {
  private static final long GOLDEN = 0x9e3779b97f4a7c15L;

  private Hash() {}

  /** A hash of three words: SplitMix64's finalizer (Steele, Lea, Flood, 2014) after each. */
  public static long of(long a, long b, long c) {
    return mix(mix(mix(a) + b) + c);
  }

  private static long mix(long word) {
    long z = word + GOLDEN;
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }
}
