package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;

/** ggml's q8_0, element by element. */
final class ScalarQ80 extends ScalarGroups {
  static final int GROUP = 32;
  static final int GROUP_BYTES = 34;
  static final ScalarQ80 INSTANCE = new ScalarQ80();

  private ScalarQ80() {
    super(Codec.Q8_0);
  }

  @Override
  void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count) {
    float d = writeScale(dst, dstOff, Float.intBitsToFloat(largest(f32, f32Off, count)));
    float inverse = inverse(d);
    for (int i = 0; i < GROUP; i++) {
      float x = element(f32, f32Off, i, count);
      dst.set(JAVA_BYTE, dstOff + 2 + i, (byte) roundHalfAway(x * inverse));
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count, long seed) {
    writeScale(dst, dstOff, Float.intBitsToFloat(largest(f32, f32Off, count)));
    float inverse = inverse(scale(dst, dstOff)); // as stored, so that the mean is right
    for (int i = 0; i < GROUP; i++) {
      float quotient = element(f32, f32Off, i, count) * inverse;
      int q = ScalarQ8Linear.floor(quotient, StochasticRounding.fraction(seed, i));
      dst.set(JAVA_BYTE, dstOff + 2 + i, (byte) q);
    }
  }

  /** Writes the f16 scale of a group with a largest magnitude; gives it as it was in f32. */
  static float writeScale(MemorySegment dst, long dstOff, float absmax) {
    float d = absmax / 127f;
    dst.set(ScalarKernels.SHORT, dstOff, ScalarHalf.toF16(Float.floatToIntBits(d)));
    return d;
  }

  /**
   * The f32 that a group is multiplied by. It is 0 for a scale so small that 1 / d would be
   * infinite: such a scale is 0 in f16, so every q has the value 0.
   */
  static float inverse(float d) {
    float inverse = 1f / d;
    return Float.isInfinite(inverse) ? 0f : inverse;
  }

  /** C's roundf for |x| below 2²³; 0 for NaN. */
  private static int roundHalfAway(float x) {
    int whole = (int) x;
    return whole + (int) (2f * (x - whole));
  }

  @Override
  float value(MemorySegment src, long groupOff, int i) {
    return src.get(JAVA_BYTE, groupOff + 2 + i) * scale(src, groupOff);
  }

  /** The f16 at the start of a group. */
  static float scale(MemorySegment src, long groupOff) {
    return Float.intBitsToFloat(ScalarHalf.fromF16(src.get(ScalarKernels.SHORT, groupOff)));
  }
}
