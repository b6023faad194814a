package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;

/** bitsandbytes' nf4, element by element. */
final class ScalarNf4 extends ScalarGroups {
  static final int GROUP = 64;
  static final int GROUP_BYTES = 36;

  /** The code whose value is 0. */
  static final int ZERO = 7;

  /** Codes' values for absmax 1: quantiles of a normal distribution (Dettmers et al. 2023, E). */
  static final float[] TABLE = {
    -1f,
    -0.6961928f,
    -0.52507305f,
    -0.3949175f,
    -0.28444138f,
    -0.18477343f,
    -0.091050036f,
    0f,
    0.0795803f,
    0.1609302f,
    0.2461123f,
    0.33791524f,
    0.44070983f,
    0.562617f,
    0.72295684f,
    1f
  };

  /** A code is the number of these that its element is above: the middles between values. */
  static final float[] ABOVE = {
    -0.8480964f,
    -0.6106329f,
    -0.45999527f,
    -0.33967942f,
    -0.2346074f,
    -0.13791174f,
    -0.045525018f,
    0.03979015f,
    0.12025525f,
    0.20352125f,
    0.29201376f,
    0.38931254f,
    0.50166345f,
    0.6427869f,
    0.86147845f
  };

  /** 1 / (the next value − this), and 0 for the last. */
  static final float[] INVERSE_GAP = inverseGaps();

  static final ScalarNf4 INSTANCE = new ScalarNf4();

  private ScalarNf4() {
    super(Codec.NF4);
  }

  @Override
  void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count) {
    float inverse = writeScale(dst, dstOff, Float.intBitsToFloat(largest(f32, f32Off, count)));
    for (int i = 0; i < GROUP; i += 2) {
      int even = code(element(f32, f32Off, i, count) * inverse);
      int odd = code(element(f32, f32Off, i + 1, count) * inverse);
      dst.set(JAVA_BYTE, dstOff + 4 + i / 2, (byte) (even << 4 | odd));
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count, long seed) {
    float inverse = writeScale(dst, dstOff, Float.intBitsToFloat(largest(f32, f32Off, count)));
    for (int i = 0; i < GROUP; i += 2) {
      int even = code(element(f32, f32Off, i, count) * inverse, seed, i);
      int odd = code(element(f32, f32Off, i + 1, count) * inverse, seed, i + 1);
      dst.set(JAVA_BYTE, dstOff + 4 + i / 2, (byte) (even << 4 | odd));
    }
  }

  /** Writes the absmax of a group; gives what its elements are multiplied by. */
  static float writeScale(MemorySegment dst, long dstOff, float absmax) {
    float inverse = inverse(absmax);
    ScalarKernels.write(dst, dstOff, inverse == 0 && Float.isFinite(absmax) ? 0f : absmax);
    return inverse;
  }

  /** 1 / absmax, or 0 where that is not finite: an absmax so small is stored as 0. */
  static float inverse(float absmax) {
    float inverse = 1f / absmax;
    return Float.isFinite(inverse) ? inverse : 0f;
  }

  private static int code(float x) {
    if (Float.isNaN(x)) {
      return ZERO;
    }
    int code = 0;
    for (float middle : ABOVE) {
      code += x > middle ? 1 : 0;
    }
    return code;
  }

  /** The code at or below, or the next with the probability of the way to it. */
  private static int code(float x, long seed, int i) {
    if (Float.isNaN(x)) {
      return ZERO;
    }
    int code = 0;
    while (code < 15 && x >= TABLE[code + 1]) {
      code++;
    }
    boolean up = StochasticRounding.fraction(seed, i) < (x - TABLE[code]) * INVERSE_GAP[code];
    return up ? code + 1 : code;
  }

  private static float[] inverseGaps() {
    float[] inverse = new float[TABLE.length];
    for (int i = 0; i < 15; i++) {
      inverse[i] = 1f / (TABLE[i + 1] - TABLE[i]);
    }
    return inverse;
  }

  @Override
  float value(MemorySegment src, long groupOff, int i) {
    int pair = src.get(JAVA_BYTE, groupOff + 4 + i / 2);
    return TABLE[(i % 2 == 0 ? pair >> 4 : pair) & 15] * ScalarKernels.read(src, groupOff);
  }
}
