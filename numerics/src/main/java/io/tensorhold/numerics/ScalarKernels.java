package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/** The plain loops: the reference for every other implementation, and the tails of the SIMD one. */
final class ScalarKernels implements Kernels {
  static final ScalarKernels INSTANCE = new ScalarKernels();

  /** Bits of an f32 that are all set in a NaN or an infinity, and in nothing else. */
  static final int F32_EXPONENT = 0x7f80_0000;

  static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private ScalarKernels() {}

  @Override
  public String name() {
    return "scalar";
  }

  @Override
  public CodecKernel codec(Codec codec) {
    return switch (codec) {
      case F32 -> ScalarHalf.F32.INSTANCE;
      case F16 -> ScalarHalf.F16.INSTANCE;
      case BF16 -> ScalarHalf.Bf16.INSTANCE;
      case Q8_0 -> ScalarQ80.INSTANCE;
      case FP8_E4M3 -> ScalarFp8.INSTANCE;
      case Q4_0 -> ScalarQ40.INSTANCE;
      case NF4 -> ScalarNf4.INSTANCE;
      case Q8_LINEAR -> ScalarQ8Linear.INSTANCE;
      case TOPK -> TopK.Kernel.INSTANCE;
      case SIGN1 -> ScalarSign1.INSTANCE;
      case RAW -> throw Codec.rawHasNoValues();
    };
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
  public RandomKernels random() {
    return ScalarRandom.INSTANCE;
  }

  @Override
  public OptimizerKernels optimizers() {
    return ScalarOptimizers.INSTANCE;
  }

  static float read(MemorySegment f32, long offset) {
    return Float.intBitsToFloat(f32.get(INT, offset));
  }

  /** Stores a result of arithmetic; floatToIntBits makes every NaN the same NaN. */
  static void write(MemorySegment f32, long offset, float value) {
    f32.set(INT, offset, Float.floatToIntBits(value));
  }
}
