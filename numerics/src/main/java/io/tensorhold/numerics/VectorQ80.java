package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * q8_0 with the Vector API: a part of {@link VectorKernels}. A group of 32 is one, two, four or
 * eight vectors.
 *
 * <p>Vectors of 128 bits would leave 4 bytes at a time, less than the API's shortest vector: there
 * the scalar loops do this codec.
 */
final class VectorQ80 {
  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Integer> I = F.withLanes(int.class);
  private static final int LANES = F.length();
  private static final VectorSpecies<Byte> B =
      VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 4)));
  private static final boolean WIDE = LANES >= 8 && Codec.Q8_0_GROUP % LANES == 0;
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(LE);
  private static final ScalarKernels TAIL = ScalarKernels.INSTANCE;

  /** Bits of the f32 just below 0.5. */
  private static final int BELOW_HALF = 0x3eff_ffff;

  private VectorQ80() {}

  static void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    int groups = WIDE ? n / Codec.Q8_0_GROUP : 0;
    for (int group = 0; group < groups; group++) {
      encodeGroup(
          f32,
          f32Off + 4L * Codec.Q8_0_GROUP * group,
          dst,
          dstOff + (long) Codec.Q8_0_GROUP_BYTES * group);
    }
    int done = groups * Codec.Q8_0_GROUP;
    TAIL.encodeQ80(
        f32, f32Off + 4L * done, dst, dstOff + (long) groups * Codec.Q8_0_GROUP_BYTES, n - done);
  }

  private static void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff) {
    // As integers, magnitudes of f32 are in the order of the values, with NaN above infinity.
    IntVector largest = IntVector.zero(I);
    for (int i = 0; i < Codec.Q8_0_GROUP; i += LANES) {
      IntVector bits = IntVector.fromMemorySegment(I, f32, f32Off + 4L * i, LE);
      largest = largest.max(bits.and(Integer.MAX_VALUE));
    }
    float d = Float.intBitsToFloat(largest.reduceLanes(VectorOperators.MAX)) / 127f;
    float inverse = ScalarKernels.inverseQ80(d);
    dst.set(SHORT, dstOff, ScalarKernels.toF16(Float.floatToIntBits(d)));
    for (int i = 0; i < Codec.Q8_0_GROUP; i += LANES) {
      FloatVector x = FloatVector.fromMemorySegment(F, f32, f32Off + 4L * i, LE).mul(inverse);
      // Half away from zero: with 0.5 itself, the f32 just below 0.5 would become 1.
      FloatVector half =
          x.reinterpretAsInts().and(Integer.MIN_VALUE).or(BELOW_HALF).reinterpretAsFloats();
      x.add(half)
          .convertShape(VectorOperators.F2I, I, 0)
          .convertShape(VectorOperators.I2B, B, 0)
          .reinterpretAsBytes()
          .intoMemorySegment(dst, dstOff + 2 + i, LE);
    }
  }

  static void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    int groups = WIDE ? n / Codec.Q8_0_GROUP : 0;
    for (int group = 0; group < groups; group++) {
      decodeGroup(
          src,
          srcOff + (long) Codec.Q8_0_GROUP_BYTES * group,
          f32,
          f32Off + 4L * Codec.Q8_0_GROUP * group);
    }
    int done = groups * Codec.Q8_0_GROUP;
    TAIL.decodeQ80(
        src, srcOff + (long) groups * Codec.Q8_0_GROUP_BYTES, f32, f32Off + 4L * done, n - done);
  }

  private static void decodeGroup(MemorySegment src, long srcOff, MemorySegment f32, long f32Off) {
    short scale = src.get(SHORT, srcOff);
    if ((scale & ScalarKernels.F16_EXPONENT) == ScalarKernels.F16_EXPONENT) {
      // Only here can a product be NaN: the scalar loop knows which NaN to store.
      TAIL.decodeQ80(src, srcOff, f32, f32Off, Codec.Q8_0_GROUP);
      return;
    }
    float d = Float.intBitsToFloat(ScalarKernels.fromF16(scale));
    for (int i = 0; i < Codec.Q8_0_GROUP; i += LANES) {
      IntVector q =
          (IntVector)
              ByteVector.fromMemorySegment(B, src, srcOff + 2 + i, LE)
                  .convertShape(VectorOperators.B2I, I, 0);
      ((FloatVector) q.convertShape(VectorOperators.I2F, F, 0))
          .mul(d)
          .intoMemorySegment(f32, f32Off + 4L * i, LE);
    }
  }
}
