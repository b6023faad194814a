package io.tensorhold.numerics;

/**
 * Rounding up or down at random, with a probability such that the mean is the value: small updates
 * of weights with few bits are not lost, only rare.
 *
 * <p>The randomness is a hash of a seed and of the element's index, so the same command gives the
 * same bytes on every replica and in every replay. The hash is MurmurHash3's 32-bit finalizer
 * (Austin Appleby, public domain), applied twice: to the index plus the seed's lower half, then to
 * that mixed with the upper half.
 */
public final class StochasticRounding {
  static final int MUL1 = 0x85eb_ca6b;
  static final int MUL2 = 0xc2b2_ae35;

  /** The unit of {@link #fraction}: sums with quotients below 256 are exact. */
  static final float FRACTION = 0x1p-16f;

  private StochasticRounding() {}

  /**
   * The seed for elements of a block, or of a table's row, that an entry of the log updates.
   *
   * @param parameter the parameter's id
   * @param block the block's index in the parameter; the row's key in its table
   * @param logIndex the index of the log entry
   * @param first the index in the block of the element that is encoded first
   */
  public static long seed(long parameter, long block, long logIndex, int first) {
    return mix64(mix64(mix64(mix64(parameter) + block) + logIndex) + first);
  }

  /** SplitMix64's finalizer on the next state. */
  private static long mix64(long state) {
    long z = state + 0x9e37_79b9_7f4a_7c15L;
    z = (z ^ (z >>> 30)) * 0xbf58_476d_1ce4_e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d0_49bb_1331_11ebL;
    return z ^ (z >>> 31);
  }

  /** 32 random bits for an element. */
  static int bits(long seed, int index) {
    return mix32(mix32(index + (int) seed) ^ (int) (seed >>> 32));
  }

  /** A number from 0 on and below 1 for an element, a multiple of {@link #FRACTION}. */
  static float fraction(long seed, int index) {
    return (bits(seed, index) >>> 16) * FRACTION;
  }

  /** The seed for the elements from an index on, which then count from 0. */
  static long advance(long seed, int index) {
    return (seed & ~0xffff_ffffL) | Integer.toUnsignedLong((int) seed + index);
  }

  private static int mix32(int x) {
    int h = x;
    h = (h ^ (h >>> 16)) * MUL1;
    h = (h ^ (h >>> 13)) * MUL2;
    return h ^ (h >>> 16);
  }
}
