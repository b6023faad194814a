package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/** The loops over groups that all scalar codecs with a scale have in common. */
abstract class ScalarGroups implements CodecKernel {
  private final int group;
  private final int groupBytes;

  ScalarGroups(Codec codec) {
    group = codec.group();
    groupBytes = codec.groupBytes();
  }

  /** Encodes one group, of which only the first {@code count} elements are there. */
  abstract void encodeGroup(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count);

  /**
   * Encodes one group likewise, rounding by the seed; indices count from the group's first element.
   */
  abstract void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count, long seed);

  /** The value of element {@code i} of the group at an offset. */
  abstract float value(MemorySegment src, long groupOff, int i);

  @Override
  public final void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    long out = dstOff;
    for (int done = 0; done < n; done += group) {
      encodeGroup(f32, f32Off + 4L * done, dst, out, Math.min(group, n - done));
      out += groupBytes;
    }
  }

  @Override
  public final void encodeStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n, long seed) {
    long out = dstOff;
    for (int done = 0; done < n; done += group) {
      long own = StochasticRounding.advance(seed, done);
      encodeGroupStochastic(f32, f32Off + 4L * done, dst, out, Math.min(group, n - done), own);
      out += groupBytes;
    }
  }

  @Override
  public final void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    for (int i = 0; i < n; i++) {
      long at = srcOff + (long) (i / group) * groupBytes;
      ScalarKernels.write(f32, f32Off + 4L * i, value(src, at, i % group));
    }
  }

  @Override
  public final int firstNonFinite(MemorySegment encoded, long offset, int n) {
    for (int i = 0; i < n; i++) {
      long at = offset + (long) (i / group) * groupBytes;
      if (!Float.isFinite(value(encoded, at, i % group))) {
        return i;
      }
    }
    return -1;
  }

  /** Bits of the largest magnitude: as integers, magnitudes are in order, NaN above infinity. */
  static int largest(MemorySegment f32, long f32Off, int count) {
    int largest = 0;
    for (int i = 0; i < count; i++) {
      largest = Math.max(largest, f32.get(ScalarKernels.INT, f32Off + 4L * i) & Integer.MAX_VALUE);
    }
    return largest;
  }

  /** Element {@code i}, or the zero that fills up a last group. */
  static float element(MemorySegment f32, long f32Off, int i, int count) {
    return i < count ? ScalarKernels.read(f32, f32Off + 4L * i) : 0f;
  }
}
