package io.tensorhold.numerics;

import static io.tensorhold.numerics.ScalarQ8Linear.GROUP;
import static io.tensorhold.numerics.ScalarQ8Linear.GROUP_BYTES;
import static io.tensorhold.numerics.ScalarQ8Linear.RINT;
import static io.tensorhold.numerics.ScalarQ8Linear.STEP;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/** q8_linear with the Vector API. */
final class VectorQ8Linear extends VectorGroups {
  static final VectorQ8Linear INSTANCE = new VectorQ8Linear();

  /** Bits of 2¹²⁷: no code makes a scale up to it overflow. */
  private static final int SAFE = 254 << 23;

  private VectorQ8Linear() {
    super(Codec.Q8_LINEAR, ScalarQ8Linear.INSTANCE, VectorLanes.BYTES);
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

  private void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff) {
    MemorySegment x = values(f32, f32Off, GROUP);
    float absmax = Float.intBitsToFloat(VectorLanes.largest(x, GROUP));
    float factor = ScalarQ8Linear.factor(absmax);
    if (factor == 0) {
      scalar.encode(f32, f32Off, dst, dstOff, GROUP);
      return;
    }
    dst.set(ScalarKernels.INT, dstOff, Float.floatToRawIntBits(absmax));
    MemorySegment codes = dst.asSlice(dstOff + 4, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      FloatVector q = VectorLanes.floats(x, 4L * i).mul(factor).add(RINT);
      VectorLanes.storeBytes(q.reinterpretAsInts(), codes, i);
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, long seed) {
    MemorySegment x = values(f32, f32Off, GROUP);
    float absmax = Float.intBitsToFloat(VectorLanes.largest(x, GROUP));
    float factor = ScalarQ8Linear.factor(absmax);
    if (factor == 0) {
      scalar.encode(f32, f32Off, dst, dstOff, GROUP);
      return;
    }
    dst.set(ScalarKernels.INT, dstOff, Float.floatToRawIntBits(absmax));
    MemorySegment codes = dst.asSlice(dstOff + 4, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      FloatVector quotient = VectorLanes.floats(x, 4L * i).mul(factor);
      ((ByteVector) floor(quotient, seed, i).convertShape(VectorOperators.I2B, VectorLanes.B, 0))
          .intoMemorySegment(codes, i, LE);
    }
  }

  /** The integers at or below quotient + fraction, from −127 to 127. */
  static IntVector floor(FloatVector quotient, long seed, int first) {
    FloatVector sum = quotient.add(128f).add(VectorRandom.fractions(seed, first));
    IntVector whole = (IntVector) sum.convertShape(VectorOperators.F2I, VectorLanes.I, 0);
    return whole.sub(128).min(127).max(-127);
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
    if (!scaleAtMost(SAFE, src, srcOff)) {
      // Only here can a product be NaN: the scalar loop knows which NaN to store.
      ScalarQ8Linear.INSTANCE.decode(src, srcOff, f32, f32Off, GROUP);
      return;
    }
    float absmax = ScalarKernels.read(src, srcOff);
    MemorySegment codes = src.asSlice(srcOff + 4, GROUP);
    MemorySegment y = values(f32, f32Off, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      VectorLanes.toFloats(VectorLanes.bytes(codes, i))
          .mul(STEP)
          .mul(absmax)
          .intoMemorySegment(y, 4L * i, LE);
    }
  }

  @Override
  boolean finite(MemorySegment encoded, long groupOff) {
    return scaleAtMost(SAFE, encoded, groupOff);
  }
}
