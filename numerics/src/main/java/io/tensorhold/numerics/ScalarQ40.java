package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;

/** ggml's q4_0, element by element. */
final class ScalarQ40 extends ScalarGroups {
  static final int GROUP = 32;
  static final int GROUP_BYTES = 18;

  /** Elements whose codes are the low nibbles of a group; the others' are the high ones. */
  static final int HALF = 16;

  static final ScalarQ40 INSTANCE = new ScalarQ40();

  private ScalarQ40() {
    super(Codec.Q4_0);
  }

  @Override
  void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count) {
    float inverse = inverse(writeScale(dst, dstOff, firstLargest(f32, f32Off, count)));
    for (int i = 0; i < HALF; i++) {
      int low = code(element(f32, f32Off, i, count) * inverse);
      int high = code(element(f32, f32Off, i + HALF, count) * inverse);
      dst.set(JAVA_BYTE, dstOff + 2 + i, (byte) (low | high << 4));
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count, long seed) {
    writeScale(dst, dstOff, firstLargest(f32, f32Off, count));
    float inverse = inverse(ScalarQ80.scale(dst, dstOff)); // as stored, so that the mean is right
    for (int i = 0; i < HALF; i++) {
      int low = code(element(f32, f32Off, i, count) * inverse, seed, i);
      int high = code(element(f32, f32Off, i + HALF, count) * inverse, seed, i + HALF);
      dst.set(JAVA_BYTE, dstOff + 2 + i, (byte) (low | high << 4));
    }
  }

  /** The first element with the largest magnitude. */
  private static float firstLargest(MemorySegment f32, long f32Off, int count) {
    int largest = largest(f32, f32Off, count);
    int first = 0;
    while ((f32.get(ScalarKernels.INT, f32Off + 4L * first) & Integer.MAX_VALUE) != largest) {
      first++;
    }
    return ScalarKernels.read(f32, f32Off + 4L * first);
  }

  /** Writes the f16 scale of a group with an m; gives it as it was in f32. */
  static float writeScale(MemorySegment dst, long dstOff, float m) {
    float d = m / -8f;
    dst.set(ScalarKernels.SHORT, dstOff, ScalarHalf.toF16(Float.floatToIntBits(d)));
    return d;
  }

  /**
   * The f32 that a group is multiplied by: 1 / d, or 0 if d is. For a scale so small that 1 / d
   * would be infinite it is NaN, which makes every code 0, as in gguf; the scale is 0 in f16, so
   * the values are 0 too.
   */
  static float inverse(float d) {
    if (d == 0) {
      return 0f;
    }
    float inverse = 1f / d;
    return Float.isInfinite(inverse) ? Float.NaN : inverse;
  }

  private static int code(float quotient) {
    return Math.min(15, (int) (quotient + 8.5f));
  }

  private static int code(float quotient, long seed, int i) {
    return Math.clamp((int) (quotient + 8f + StochasticRounding.fraction(seed, i)), 0, 15);
  }

  @Override
  float value(MemorySegment src, long groupOff, int i) {
    int pair = src.get(JAVA_BYTE, groupOff + 2 + i % HALF);
    int code = i < HALF ? pair & 15 : (pair >> 4) & 15;
    return (code - 8) * ScalarQ80.scale(src, groupOff);
  }
}
