package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;

/** sign1, element by element. */
final class ScalarSign1 extends ScalarGroups {
  static final int GROUP = 256;
  static final int GROUP_BYTES = 36;
  static final ScalarSign1 INSTANCE = new ScalarSign1();

  private ScalarSign1() {
    super(Codec.SIGN1);
  }

  @Override
  void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count) {
    ScalarKernels.write(dst, dstOff, meanMagnitude(f32, f32Off, count));
    for (int at = 0; at < GROUP; at += Byte.SIZE) {
      int signs = 0;
      for (int bit = 0; bit < Byte.SIZE && at + bit < count; bit++) {
        signs |= (f32.get(ScalarKernels.INT, f32Off + 4L * (at + bit)) >>> 31) << bit;
      }
      dst.set(JAVA_BYTE, dstOff + 4 + at / Byte.SIZE, (byte) signs);
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int count, long seed) {
    throw new UnsupportedOperationException("sign1 rounds to nearest only");
  }

  /** The mean of |x| over the elements that are there, summed in f64 from the first on. */
  static float meanMagnitude(MemorySegment f32, long f32Off, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) {
      sum += Math.abs(ScalarKernels.read(f32, f32Off + 4L * i));
    }
    return (float) (sum / count);
  }

  @Override
  float value(MemorySegment src, long groupOff, int i) {
    float magnitude = ScalarKernels.read(src, groupOff);
    return (src.get(JAVA_BYTE, groupOff + 4 + i / Byte.SIZE) >> (i % Byte.SIZE) & 1) == 0
        ? magnitude
        : -magnitude;
  }
}
