package io.tensorhold.numerics;

import static io.tensorhold.numerics.ScalarQ80.GROUP;
import static io.tensorhold.numerics.ScalarQ80.GROUP_BYTES;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/** q8_0 with the Vector API. */
final class VectorQ80 extends VectorGroups {
  static final VectorQ80 INSTANCE = new VectorQ80();

  /** Bits of the f32 just below 0.5. */
  private static final int BELOW_HALF = 0x3eff_ffff;

  private VectorQ80() {
    super(Codec.Q8_0, ScalarQ80.INSTANCE, VectorLanes.BYTES);
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
    MemorySegment values = values(f32, f32Off, GROUP);
    float absmax = Float.intBitsToFloat(VectorLanes.largest(values, GROUP));
    float inverse = ScalarQ80.inverse(ScalarQ80.writeScale(dst, dstOff, absmax));
    MemorySegment codes = dst.asSlice(dstOff + 2, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      FloatVector x = VectorLanes.floats(values, 4L * i).mul(inverse);
      // Half away from zero: with 0.5 itself, the f32 just below 0.5 would become 1.
      FloatVector half =
          x.reinterpretAsInts().and(Integer.MIN_VALUE).or(BELOW_HALF).reinterpretAsFloats();
      VectorLanes.storeBytes(VectorLanes.truncate(x.add(half)), codes, i);
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, long seed) {
    MemorySegment values = values(f32, f32Off, GROUP);
    ScalarQ80.writeScale(dst, dstOff, Float.intBitsToFloat(VectorLanes.largest(values, GROUP)));
    float inverse = ScalarQ80.inverse(ScalarQ80.scale(dst, dstOff));
    MemorySegment codes = dst.asSlice(dstOff + 2, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      FloatVector quotient = VectorLanes.floats(values, 4L * i).mul(inverse);
      ((ByteVector)
              VectorQ8Linear.floor(quotient, seed, i)
                  .convertShape(VectorOperators.I2B, VectorLanes.B, 0))
          .intoMemorySegment(codes, i, LE);
    }
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
    if (!finiteHalf(src, srcOff)) {
      // Only here can a product be NaN: the scalar loop knows which NaN to store.
      ScalarQ80.INSTANCE.decode(src, srcOff, f32, f32Off, GROUP);
      return;
    }
    float d = ScalarQ80.scale(src, srcOff);
    MemorySegment codes = src.asSlice(srcOff + 2, GROUP);
    MemorySegment values = values(f32, f32Off, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      VectorLanes.toFloats(VectorLanes.bytes(codes, i))
          .mul(d)
          .intoMemorySegment(values, 4L * i, LE);
    }
  }

  @Override
  boolean finite(MemorySegment encoded, long groupOff) {
    return finiteHalf(encoded, groupOff);
  }
}
