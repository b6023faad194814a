package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;

/** fp8_e4m3 with a scale for each group, element by element. */
final class ScalarFp8 extends ScalarGroups {
  static final int GROUP = 256;
  static final int GROUP_BYTES = 260;

  /** Bits of the scales 2⁻¹²⁶ and 2¹²⁰, the smallest and the largest that are written. */
  static final int LEAST_SCALE = 1 << 23;

  static final int LARGEST_SCALE = 247 << 23;

  /** Bits of the f32 2⁻⁶, the smallest normal e4m3. */
  static final int LEAST_NORMAL = 121 << 23;

  /** The difference of the exponents' biases, 127 and 7, in an f32's bits. */
  static final int BIAS = 120 << 23;

  /** Added to an f32 below 2⁻⁶, it leaves the multiple of 2⁻⁹ in the low bits, rounded. */
  static final float SUBNORMAL = 0x1p14f;

  static final int NAN = 0x7f;
  private static final float MAX = 448f;

  /** Halfway to what would be the next value after 448: from here on ml_dtypes gives 448. */
  private static final float MAX_ROUNDED = 464f;

  static final ScalarFp8 INSTANCE = new ScalarFp8();

  private ScalarFp8() {
    super(Codec.FP8_E4M3);
  }

  @Override
  void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count) {
    int largest = largest(f32, f32Off, count);
    if (largest >= ScalarKernels.F32_EXPONENT) {
      encodeNonFinite(largest, dst, dstOff);
      return;
    }
    int scale = scale(largest);
    float inverse = inverse(scale);
    float limit = limit(scale);
    dst.set(ScalarKernels.INT, dstOff, scale);
    for (int i = 0; i < GROUP; i++) {
      float x = element(f32, f32Off, i, count) * inverse;
      x = Math.max(-limit, Math.min(limit, x));
      dst.set(JAVA_BYTE, dstOff + 4 + i, encode(x));
    }
  }

  private static void encodeNonFinite(int largest, MemorySegment dst, long dstOff) {
    ScalarKernels.write(dst, dstOff, Float.intBitsToFloat(largest));
    dst.asSlice(dstOff + 4, GROUP).fill((byte) 0);
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count, long seed) {
    int largest = largest(f32, f32Off, count);
    if (largest >= ScalarKernels.F32_EXPONENT) {
      encodeNonFinite(largest, dst, dstOff);
      return;
    }
    int scale = scale(largest);
    float inverse = inverse(scale);
    int limit = Float.floatToRawIntBits(limit(scale));
    dst.set(ScalarKernels.INT, dstOff, scale);
    for (int i = 0; i < GROUP; i++) {
      int bits = Float.floatToRawIntBits(element(f32, f32Off, i, count) * inverse);
      int magnitude = Math.min(bits & Integer.MAX_VALUE, limit);
      int random = StochasticRounding.bits(seed, i) >>> 12;
      int code =
          magnitude < LEAST_NORMAL
              ? (int) (Float.intBitsToFloat(magnitude) * 0x1p9f + random * 0x1p-20f)
              : (magnitude - BIAS + random) >>> 20;
      dst.set(JAVA_BYTE, dstOff + 4 + i, (byte) (code | (bits >>> 24 & 0x80)));
    }
  }

  /** Bits of the smallest power of two, from 2⁻¹²⁶ on, that absmax divided by is at most 448. */
  static int scale(int absmax) {
    // 448 is 1.75 · 2⁸: a significand above 1.75 carries into the exponent
    return Math.max(LEAST_SCALE + (8 << 23), (absmax + 0x1f_ffff) & 0x7f80_0000) - (8 << 23);
  }

  /** 1 / scale, exactly. */
  static float inverse(int scale) {
    return Float.intBitsToFloat((254 << 23) - scale);
  }

  /** The largest magnitude before rounding: 448, or 240 where 256 · scale would be infinite. */
  static float limit(int scale) {
    return scale == LARGEST_SCALE ? 240f : MAX;
  }

  /** The nearest e4m3, ties to even; NaN above 464, as ml_dtypes' float8_e4m3fn. */
  static byte encode(float x) {
    int bits = Float.floatToRawIntBits(x);
    int sign = bits >>> 24 & 0x80;
    int magnitude = bits & Integer.MAX_VALUE;
    float absolute = Float.intBitsToFloat(magnitude);
    if (!(absolute <= MAX_ROUNDED)) {
      return (byte) (sign | NAN);
    }
    if (magnitude < LEAST_NORMAL) {
      return (byte)
          (sign
              | (Float.floatToRawIntBits(absolute + SUBNORMAL)
                  - Float.floatToRawIntBits(SUBNORMAL)));
    }
    return (byte)
        (sign | Math.min(0x7e, (magnitude - BIAS + 0x7_ffff + (magnitude >>> 20 & 1)) >>> 20));
  }

  /** The value of an e4m3, exactly. */
  static float decode(int code) {
    int magnitude = code & 0x7f;
    if (magnitude == NAN) {
      return Float.NaN;
    }
    // Below 8 there is no hidden bit: the code is a whole number of 2⁻⁹.
    float absolute =
        magnitude < 8 ? magnitude * 0x1p-9f : Float.intBitsToFloat((magnitude << 20) + BIAS);
    return (code & 0x80) == 0 ? absolute : -absolute;
  }

  @Override
  float value(MemorySegment src, long groupOff, int i) {
    return decode(src.get(JAVA_BYTE, groupOff + 4 + i)) * ScalarKernels.read(src, groupOff);
  }
}
