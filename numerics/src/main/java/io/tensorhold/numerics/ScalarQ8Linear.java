package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;

/** q8_linear, element by element. */
final class ScalarQ8Linear extends ScalarGroups {
  static final int GROUP = 256;
  static final int GROUP_BYTES = 260;

  /** A code's step for absmax 1. In f32, 127 times it is 1, so the largest value is exact. */
  static final float STEP = 1f / 127f;

  /** Added to an f32 below 2²², it leaves rint of it in the low bits: their unit is 1 there. */
  static final float RINT = 0x1.8p23f;

  static final ScalarQ8Linear INSTANCE = new ScalarQ8Linear();

  private ScalarQ8Linear() {
    super(Codec.Q8_LINEAR);
  }

  @Override
  void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count) {
    float absmax = Float.intBitsToFloat(largest(f32, f32Off, count));
    float factor = factor(absmax);
    writeScale(dst, dstOff, absmax, factor);
    for (int i = 0; i < GROUP; i++) {
      int q = 0; // also where nothing is finite, whatever NaN times 0 is
      if (factor != 0) {
        q = Float.floatToRawIntBits(element(f32, f32Off, i, count) * factor + RINT);
      }
      dst.set(JAVA_BYTE, dstOff + 4 + i, (byte) q);
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count, long seed) {
    float absmax = Float.intBitsToFloat(largest(f32, f32Off, count));
    float factor = factor(absmax);
    writeScale(dst, dstOff, absmax, factor);
    for (int i = 0; i < GROUP; i++) {
      int q = 0;
      if (factor != 0 && i < count) {
        float quotient = ScalarKernels.read(f32, f32Off + 4L * i) * factor;
        q = floor(quotient, StochasticRounding.fraction(seed, i));
      }
      dst.set(JAVA_BYTE, dstOff + 4 + i, (byte) q);
    }
  }

  /** The integer at or below quotient + fraction, from −127 to 127. */
  static int floor(float quotient, float fraction) {
    return Math.clamp((int) (quotient + 128f + fraction) - 128, -127, 127);
  }

  /** 127 / absmax, or 0 where that is not finite: an absmax so small is stored as 0. */
  static float factor(float absmax) {
    float factor = 127f / absmax;
    return Float.isFinite(factor) ? factor : 0f;
  }

  static void writeScale(MemorySegment dst, long dstOff, float absmax, float factor) {
    ScalarKernels.write(dst, dstOff, factor == 0 && Float.isFinite(absmax) ? 0f : absmax);
  }

  @Override
  float value(MemorySegment src, long groupOff, int i) {
    return src.get(JAVA_BYTE, groupOff + 4 + i) * STEP * ScalarKernels.read(src, groupOff);
  }
}
