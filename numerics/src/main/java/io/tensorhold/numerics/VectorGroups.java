package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * What the SIMD codecs with a scale have in common. Their loops over groups are written out in each
 * of them, so that the JIT compiles each with its own group inlined.
 *
 * <p>The loop inside a group works on slices of exactly the group, whose size is a constant: so the
 * JIT proves that no access is out of bounds, and unrolls it. With offsets into the whole segment
 * it was three times as slow. A slice costs nothing as long as it is handed to no method that is
 * not inlined; so groups that need the scalar loops are sorted out before one is made.
 */
abstract class VectorGroups implements CodecKernel {
  final CodecKernel scalar;
  final boolean vectors;
  private final int group;
  private final int groupBytes;

  /**
   * For a codec whose scalar loops are given, which do all of it unless {@code vectors}: whether
   * the vectors of this processor are long enough.
   */
  VectorGroups(Codec codec, CodecKernel scalar, boolean vectors) {
    this.scalar = scalar;
    this.vectors = vectors;
    group = codec.group();
    groupBytes = codec.groupBytes();
  }

  /** The f32 of the group at an offset. */
  static MemorySegment values(MemorySegment f32, long offset, int group) {
    return f32.asSlice(offset, 4L * group);
  }

  /** Whether every value of the group is finite; false also if that takes a closer look. */
  abstract boolean finite(MemorySegment encoded, long groupOff);

  /** Encodes a whole group, rounding by the seed; indices count from the group's first element. */
  abstract void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, long seed);

  @Override
  public final void encodeStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n, long seed) {
    int bound = vectors ? n / group * group : 0;
    long out = dstOff;
    for (int done = 0; done < bound; done += group) {
      long own = StochasticRounding.advance(seed, done);
      encodeGroupStochastic(f32, f32Off + 4L * done, dst, out, own);
      out += groupBytes;
    }
    long own = StochasticRounding.advance(seed, bound);
    scalar.encodeStochastic(f32, f32Off + 4L * bound, dst, out, n - bound, own);
  }

  @Override
  public final int firstNonFinite(MemorySegment encoded, long offset, int n) {
    long at = offset;
    for (int done = 0; done < n; done += group) {
      if (!finite(encoded, at)) {
        int found = scalar.firstNonFinite(encoded, at, Math.min(group, n - done));
        if (found >= 0) {
          return done + found;
        }
      }
      at += groupBytes;
    }
    return -1;
  }

  /** Whether an f16 scale is finite: no code makes it overflow an f32. */
  static boolean finiteHalf(MemorySegment encoded, long groupOff) {
    int exponent = encoded.get(ScalarKernels.SHORT, groupOff) & ScalarHalf.F16_EXPONENT;
    return exponent != ScalarHalf.F16_EXPONENT;
  }

  /** Whether the magnitude of an f32 scale is at most that of the f32 with these bits. */
  static boolean scaleAtMost(int limit, MemorySegment encoded, long groupOff) {
    return (encoded.get(ScalarKernels.INT, groupOff) & Integer.MAX_VALUE) <= limit;
  }
}
