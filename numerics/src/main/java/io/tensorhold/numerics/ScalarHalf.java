package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/** The codecs without a scale, f32, f16 and bf16, element by element. */
final class ScalarHalf {
  /** Bits of an f16 that are all set in a NaN or an infinity, and in nothing else. */
  static final int F16_EXPONENT = 0x7c00;

  /** The largest finite f16. */
  static final int F16_MAX = 0x7bff;

  /** The difference of the exponents' biases, 127 and 15, in an f32's bits. */
  static final int F16_BIAS = 112 << 23;

  /** Bits of the f32 2⁻¹⁴, the smallest normal f16. */
  static final int LEAST_NORMAL_F16 = 113 << 23;

  /** The same as {@link #F16_EXPONENT}, of a bf16. */
  static final int BF16_EXPONENT = 0x7f80;

  /** Bits of the largest finite bf16, and those below it that an f32 has. */
  static final int BF16_MAX = 0x7f7f_ffff;

  private ScalarHalf() {}

  static final class F32 implements CodecKernel {
    static final F32 INSTANCE = new F32();

    private F32() {}

    @Override
    public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
      MemorySegment.copy(f32, f32Off, dst, dstOff, 4L * n);
    }

    @Override
    public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
      MemorySegment.copy(src, srcOff, f32, f32Off, 4L * n);
    }

    @Override
    public int firstNonFinite(MemorySegment encoded, long offset, int n) {
      for (int i = 0; i < n; i++) {
        int bits = encoded.get(ScalarKernels.INT, offset + 4L * i);
        if ((bits & ScalarKernels.F32_EXPONENT) == ScalarKernels.F32_EXPONENT) {
          return i;
        }
      }
      return -1;
    }
  }

  static final class F16 implements CodecKernel {
    static final F16 INSTANCE = new F16();

    private F16() {}

    @Override
    public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
      for (int i = 0; i < n; i++) {
        short half = toF16(f32.get(ScalarKernels.INT, f32Off + 4L * i));
        dst.set(ScalarKernels.SHORT, dstOff + 2L * i, half);
      }
    }

    @Override
    public void encodeStochastic(
        MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n, long seed) {
      for (int i = 0; i < n; i++) {
        int bits = f32.get(ScalarKernels.INT, f32Off + 4L * i);
        int random = StochasticRounding.bits(seed, i) >>> 19;
        dst.set(ScalarKernels.SHORT, dstOff + 2L * i, toF16(bits, random));
      }
    }

    @Override
    public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
      for (int i = 0; i < n; i++) {
        int bits = fromF16(src.get(ScalarKernels.SHORT, srcOff + 2L * i));
        f32.set(ScalarKernels.INT, f32Off + 4L * i, bits);
      }
    }

    @Override
    public int firstNonFinite(MemorySegment encoded, long offset, int n) {
      return firstWithout(F16_EXPONENT, encoded, offset, n);
    }
  }

  static final class Bf16 implements CodecKernel {
    static final Bf16 INSTANCE = new Bf16();

    private Bf16() {}

    @Override
    public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
      for (int i = 0; i < n; i++) {
        short half = toBf16(f32.get(ScalarKernels.INT, f32Off + 4L * i));
        dst.set(ScalarKernels.SHORT, dstOff + 2L * i, half);
      }
    }

    @Override
    public void encodeStochastic(
        MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n, long seed) {
      for (int i = 0; i < n; i++) {
        int bits = f32.get(ScalarKernels.INT, f32Off + 4L * i);
        int random = StochasticRounding.bits(seed, i) >>> 16;
        dst.set(ScalarKernels.SHORT, dstOff + 2L * i, toBf16(bits, random));
      }
    }

    @Override
    public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
      for (int i = 0; i < n; i++) {
        int bits = src.get(ScalarKernels.SHORT, srcOff + 2L * i) << 16;
        f32.set(ScalarKernels.INT, f32Off + 4L * i, bits);
      }
    }

    @Override
    public int firstNonFinite(MemorySegment encoded, long offset, int n) {
      return firstWithout(BF16_EXPONENT, encoded, offset, n);
    }
  }

  /** The first of n halves that has all bits of the exponent set, or −1. */
  private static int firstWithout(int exponent, MemorySegment halves, long offset, int n) {
    for (int i = 0; i < n; i++) {
      if ((halves.get(ScalarKernels.SHORT, offset + 2L * i) & exponent) == exponent) {
        return i;
      }
    }
    return -1;
  }

  /** The f16 nearest to an f32 given by its bits. */
  static short toF16(int bits) {
    if ((bits & Integer.MAX_VALUE) > ScalarKernels.F32_EXPONENT) {
      // A NaN: what floatToFloat16 keeps of it depends on the processor.
      return (short) (((bits >>> 16) & 0x8000) | 0x7e00 | ((bits >>> 13) & 0x1ff));
    }
    return Float.floatToFloat16(Float.intBitsToFloat(bits));
  }

  /** The f16 below or above in magnitude, by 13 random bits; never from finite to infinite. */
  private static short toF16(int bits, int random) {
    int magnitude = bits & Integer.MAX_VALUE;
    if (magnitude >= ScalarKernels.F32_EXPONENT) {
      return toF16(bits);
    }
    int half =
        magnitude < LEAST_NORMAL_F16
            ? (int) (Float.intBitsToFloat(magnitude) * 0x1p24f + random * 0x1p-13f)
            : Math.min((magnitude - F16_BIAS + random) >>> 13, F16_MAX);
    return (short) (half | (bits >>> 16 & 0x8000));
  }

  /** The bits of the f32 that equals an f16. */
  static int fromF16(short half) {
    if ((half & F16_EXPONENT) == F16_EXPONENT) {
      return ((half & 0x8000) << 16) | ScalarKernels.F32_EXPONENT | ((half & 0x3ff) << 13);
    }
    return Float.floatToIntBits(Float.float16ToFloat(half));
  }

  /** The bf16 nearest to an f32 given by its bits. */
  static short toBf16(int bits) {
    if ((bits & Integer.MAX_VALUE) > ScalarKernels.F32_EXPONENT) {
      return (short) (((bits >>> 16) & 0x8000) | 0x7fc0);
    }
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }

  /** The bf16 below or above in magnitude, by 16 random bits; never from finite to infinite. */
  private static short toBf16(int bits, int random) {
    int magnitude = bits & Integer.MAX_VALUE;
    if (magnitude >= ScalarKernels.F32_EXPONENT) {
      return toBf16(bits);
    }
    int rounded = Math.min(magnitude + random, BF16_MAX);
    return (short) ((rounded | (bits & Integer.MIN_VALUE)) >>> 16);
  }
}
