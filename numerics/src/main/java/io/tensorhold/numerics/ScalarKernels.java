package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/** The plain loops: the reference for every other implementation, and the tails of the SIMD one. */
final class ScalarKernels implements Kernels {
  static final ScalarKernels INSTANCE = new ScalarKernels();

  /** Bits of an f32 that are all set in a NaN or an infinity, and in nothing else. */
  static final int F32_EXPONENT = 0x7f80_0000;

  /** The same of an f16. */
  static final int F16_EXPONENT = 0x7c00;

  /** The same of a bf16. */
  static final int BF16_EXPONENT = 0x7f80;

  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private ScalarKernels() {}

  @Override
  public String name() {
    return "scalar";
  }

  @Override
  public void encodeF16(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    for (int i = 0; i < n; i++) {
      dst.set(SHORT, dstOff + 2L * i, toF16(f32.get(INT, f32Off + 4L * i)));
    }
  }

  @Override
  public void decodeF16(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    for (int i = 0; i < n; i++) {
      f32.set(INT, f32Off + 4L * i, fromF16(src.get(SHORT, srcOff + 2L * i)));
    }
  }

  @Override
  public void encodeBf16(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    for (int i = 0; i < n; i++) {
      dst.set(SHORT, dstOff + 2L * i, toBf16(f32.get(INT, f32Off + 4L * i)));
    }
  }

  @Override
  public void decodeBf16(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    for (int i = 0; i < n; i++) {
      f32.set(INT, f32Off + 4L * i, src.get(SHORT, srcOff + 2L * i) << 16);
    }
  }

  @Override
  public void encodeQ80(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    int done = 0;
    long out = dstOff;
    while (done < n) {
      int count = Math.min(Codec.Q8_0_GROUP, n - done);
      encodeQ80Group(f32, f32Off + 4L * done, dst, out, count);
      done += count;
      out += Codec.Q8_0_GROUP_BYTES;
    }
  }

  private static void encodeQ80Group(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count) {
    int largest = 0;
    for (int i = 0; i < count; i++) {
      largest = Math.max(largest, f32.get(INT, f32Off + 4L * i) & Integer.MAX_VALUE);
    }
    float d = Float.intBitsToFloat(largest) / 127f;
    float inverse = inverseQ80(d);
    dst.set(SHORT, dstOff, toF16(Float.floatToIntBits(d)));
    for (int i = 0; i < count; i++) {
      float x = read(f32, f32Off + 4L * i);
      dst.set(JAVA_BYTE, dstOff + 2 + i, (byte) roundHalfAway(x * inverse));
    }
    for (int i = count; i < Codec.Q8_0_GROUP; i++) {
      dst.set(JAVA_BYTE, dstOff + 2 + i, (byte) 0);
    }
  }

  /**
   * The f32 that a q8_0 group is multiplied by. It is 0 for a scale so small that 1 / d would be
   * infinite: such a scale is 0 in f16, so every q has the value 0.
   */
  static float inverseQ80(float d) {
    float inverse = 1f / d;
    return Float.isInfinite(inverse) ? 0f : inverse;
  }

  /** C's roundf for |x| below 2²³; 0 for NaN. */
  private static int roundHalfAway(float x) {
    int whole = (int) x;
    return whole + (int) (2f * (x - whole));
  }

  @Override
  public void decodeQ80(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    for (int i = 0; i < n; i++) {
      long group = srcOff + (long) (i / Codec.Q8_0_GROUP) * Codec.Q8_0_GROUP_BYTES;
      float d = Float.intBitsToFloat(fromF16(src.get(SHORT, group)));
      write(f32, f32Off + 4L * i, src.get(JAVA_BYTE, group + 2 + i % Codec.Q8_0_GROUP) * d);
    }
  }

  @Override
  public int firstNonFinite(Codec codec, MemorySegment encoded, long offset, int n) {
    return switch (codec) {
      case F32 -> firstNonFiniteF32(encoded, offset, n);
      case F16 -> firstNonFinite16(encoded, offset, 2, F16_EXPONENT, n);
      case BF16 -> firstNonFinite16(encoded, offset, 2, BF16_EXPONENT, n);
      case Q8_0 -> {
        int groups = Math.ceilDiv(n, Codec.Q8_0_GROUP);
        int group = firstNonFinite16(encoded, offset, Codec.Q8_0_GROUP_BYTES, F16_EXPONENT, groups);
        yield group < 0 ? -1 : group * Codec.Q8_0_GROUP;
      }
      case RAW ->
          throw new UnsupportedOperationException(
              "codec raw has no f32 values that could be checked for NaN");
    };
  }

  private static int firstNonFiniteF32(MemorySegment f32, long offset, int n) {
    for (int i = 0; i < n; i++) {
      if ((f32.get(INT, offset + 4L * i) & F32_EXPONENT) == F32_EXPONENT) {
        return i;
      }
    }
    return -1;
  }

  private static int firstNonFinite16(
      MemorySegment encoded, long offset, int stride, int exponent, int n) {
    for (int i = 0; i < n; i++) {
      if ((encoded.get(SHORT, offset + (long) stride * i) & exponent) == exponent) {
        return i;
      }
    }
    return -1;
  }

  @Override
  public void add(MemorySegment w, long wOff, MemorySegment g, long gOff, int n) {
    for (int i = 0; i < n; i++) {
      write(w, wOff + 4L * i, read(w, wOff + 4L * i) + read(g, gOff + 4L * i));
    }
  }

  @Override
  public void scale(MemorySegment f32, long off, float factor, int n) {
    for (int i = 0; i < n; i++) {
      write(f32, off + 4L * i, read(f32, off + 4L * i) * factor);
    }
  }

  @Override
  public OptimizerKernels optimizers() {
    return ScalarOptimizers.INSTANCE;
  }

  private static float read(MemorySegment f32, long offset) {
    return Float.intBitsToFloat(f32.get(INT, offset));
  }

  /** Stores a result of arithmetic; floatToIntBits makes every NaN the same NaN. */
  private static void write(MemorySegment f32, long offset, float value) {
    f32.set(INT, offset, Float.floatToIntBits(value));
  }

  /** The f16 nearest to an f32 given by its bits. */
  static short toF16(int bits) {
    if ((bits & Integer.MAX_VALUE) > F32_EXPONENT) {
      // A NaN: what floatToFloat16 keeps of it depends on the processor.
      return (short) (((bits >>> 16) & 0x8000) | 0x7e00 | ((bits >>> 13) & 0x1ff));
    }
    return Float.floatToFloat16(Float.intBitsToFloat(bits));
  }

  /** The bits of the f32 that equals an f16. */
  static int fromF16(short half) {
    if ((half & F16_EXPONENT) == F16_EXPONENT) {
      return ((half & 0x8000) << 16) | F32_EXPONENT | ((half & 0x3ff) << 13);
    }
    return Float.floatToIntBits(Float.float16ToFloat(half));
  }

  /** The bf16 nearest to an f32 given by its bits. */
  static short toBf16(int bits) {
    if ((bits & Integer.MAX_VALUE) > F32_EXPONENT) {
      return (short) (((bits >>> 16) & 0x8000) | 0x7fc0);
    }
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }
}
