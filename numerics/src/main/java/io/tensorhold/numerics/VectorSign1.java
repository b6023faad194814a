package io.tensorhold.numerics;

import static io.tensorhold.numerics.ScalarSign1.GROUP;
import static io.tensorhold.numerics.ScalarSign1.GROUP_BYTES;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/** sign1 with the Vector API; the sum of a group stays scalar, because its order is fixed. */
final class VectorSign1 extends VectorGroups {
  static final VectorSign1 INSTANCE = new VectorSign1();

  private static final int LARGEST_FINITE = ScalarKernels.F32_EXPONENT - 1;
  private static final int BYTES_EACH = LANES / Byte.SIZE;

  private VectorSign1() {
    super(Codec.SIGN1, ScalarSign1.INSTANCE, VectorLanes.BYTES);
  }

  @Override
  public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    int groups = VectorLanes.BYTES ? n / GROUP : 0;
    for (int g = 0; g < groups; g++) {
      encodeGroup(f32, f32Off + 4L * GROUP * g, dst, dstOff + (long) GROUP_BYTES * g);
    }
    int done = groups * GROUP;
    scalar.encode(f32, f32Off + 4L * done, dst, dstOff + (long) groups * GROUP_BYTES, n - done);
  }

  private static void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff) {
    ScalarKernels.write(dst, dstOff, ScalarSign1.meanMagnitude(f32, f32Off, GROUP));
    long out = dstOff + 4;
    for (int i = 0; i < GROUP; i += LANES) {
      long signs = VectorLanes.ints(f32, f32Off + 4L * i).compare(VectorOperators.LT, 0).toLong();
      for (int b = 0; b < BYTES_EACH; b++) {
        dst.set(JAVA_BYTE, out++, (byte) (signs >>> (b * Byte.SIZE)));
      }
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, long seed) {
    throw new UnsupportedOperationException("sign1 rounds to nearest only");
  }

  @Override
  public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    int groups = VectorLanes.BYTES ? n / GROUP : 0;
    for (int g = 0; g < groups; g++) {
      decodeGroup(src, srcOff + (long) GROUP_BYTES * g, f32, f32Off + 4L * GROUP * g);
    }
    int done = groups * GROUP;
    scalar.decode(src, srcOff + (long) groups * GROUP_BYTES, f32, f32Off + 4L * done, n - done);
  }

  private static void decodeGroup(MemorySegment src, long srcOff, MemorySegment f32, long f32Off) {
    if (!scaleAtMost(LARGEST_FINITE, src, srcOff)) {
      // The scalar loop knows which NaN to store.
      ScalarSign1.INSTANCE.decode(src, srcOff, f32, f32Off, GROUP);
      return;
    }
    IntVector positive = IntVector.broadcast(VectorLanes.I, src.get(ScalarKernels.INT, srcOff));
    IntVector negative = positive.lanewise(VectorOperators.XOR, Integer.MIN_VALUE);
    long in = srcOff + 4;
    for (int i = 0; i < GROUP; i += LANES) {
      long signs = 0;
      for (int b = 0; b < BYTES_EACH; b++) {
        signs |= (src.get(JAVA_BYTE, in++) & 0xffL) << (b * Byte.SIZE);
      }
      positive
          .blend(negative, VectorMask.fromLong(VectorLanes.I, signs))
          .intoMemorySegment(f32, f32Off + 4L * i, LE);
    }
  }

  @Override
  boolean finite(MemorySegment encoded, long groupOff) {
    return scaleAtMost(LARGEST_FINITE, encoded, groupOff);
  }
}
