package io.tensorhold.numerics;

import static io.tensorhold.numerics.VectorLanes.I;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/**
 * {@link Float8State} with the Vector API: a part of {@link VectorOptimizers}. Groups that are not
 * full, and all with vectors of 128 bits, are left to the scalar loops; see {@link VectorGroups}.
 */
final class VectorFloat8 {
  private static final int GROUP = Float8State.GROUP;
  private static final boolean WIDE = LANES >= 8;
  private static final ValueLayout.OfShort SHORT = ScalarKernels.SHORT;

  private VectorFloat8() {}

  static void encode(
      boolean signed,
      long seed,
      MemorySegment f32,
      long f32Off,
      MemorySegment dst,
      long dstOff,
      int n) {
    int groups = WIDE ? n / GROUP : 0;
    for (int g = 0; g < groups; g++) {
      encodeGroup(
          signed, seed, GROUP * g, f32, f32Off + 4L * GROUP * g, dst, dstOff + (2L + GROUP) * g);
    }
    int done = groups * GROUP;
    Float8State.encode(
        signed,
        StochasticRounding.advance(seed, done),
        f32,
        f32Off + 4L * done,
        dst,
        dstOff + Float8State.bytes(done),
        n - done);
  }

  private static void encodeGroup(
      boolean signed,
      long seed,
      int first,
      MemorySegment f32,
      long f32Off,
      MemorySegment dst,
      long dstOff) {
    MemorySegment x = VectorGroups.values(f32, f32Off, GROUP);
    int base = Float8State.base(VectorLanes.largest(x, GROUP), signed);
    dst.set(SHORT, dstOff, (short) base);
    MemorySegment coded = dst.asSlice(dstOff + 2, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      IntVector bits = VectorLanes.ints(x, 4L * i);
      codes(signed, bits, random(seed, first + i), base)
          .convertShape(VectorOperators.I2B, VectorLanes.B, 0)
          .reinterpretAsBytes()
          .intoMemorySegment(coded, i, LE);
    }
  }

  private static IntVector codes(boolean signed, IntVector bits, IntVector random, int base) {
    IntVector magnitude = bits.and(Integer.MAX_VALUE);
    int smallest = (base + 1) << Float8State.SHIFT;
    IntVector code =
        magnitude
            .add(random)
            .lanewise(VectorOperators.LSHR, Float8State.SHIFT)
            .min(Float8State.LARGEST);
    code =
        code.blend(
            magnitude.lanewise(VectorOperators.LSHR, Float8State.SHIFT),
            magnitude.compare(VectorOperators.GE, Float8State.INFINITY));
    code = code.sub(base);
    VectorMask<Integer> small = magnitude.compare(VectorOperators.LT, smallest);
    if (!signed) {
      return code.blend(1, small).blend(0, magnitude.compare(VectorOperators.EQ, 0));
    }
    if (small.anyTrue()) {
      FloatVector share = magnitude.reinterpretAsFloats().div(Float.intBitsToFloat(smallest));
      VectorMask<Integer> kept =
          ((FloatVector) random.convertShape(VectorOperators.I2F, VectorLanes.F, 0))
              .mul(0x1p-20f)
              .compare(VectorOperators.LT, share)
              .cast(I);
      code = code.blend(0, small).blend(1, small.and(kept));
    }
    IntVector sign = bits.lanewise(VectorOperators.LSHR, 24).and(0x80);
    return code.or(sign.blend(0, code.compare(VectorOperators.EQ, 0)));
  }

  private static IntVector random(long seed, int first) {
    return VectorRandom.bits(seed, first).lanewise(VectorOperators.LSHR, 12);
  }

  static void decode(
      boolean signed, MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    int groups = WIDE ? n / GROUP : 0;
    for (int g = 0; g < groups; g++) {
      decodeGroup(signed, src, srcOff + (2L + GROUP) * g, f32, f32Off + 4L * GROUP * g);
    }
    int done = groups * GROUP;
    Float8State.decode(
        signed, src, srcOff + Float8State.bytes(done), f32, f32Off + 4L * done, n - done);
  }

  private static void decodeGroup(
      boolean signed, MemorySegment src, long srcOff, MemorySegment f32, long f32Off) {
    int base = Short.toUnsignedInt(src.get(SHORT, srcOff));
    MemorySegment codes = src.asSlice(srcOff + 2, GROUP);
    MemorySegment y = VectorGroups.values(f32, f32Off, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      IntVector coded =
          (IntVector)
              ByteVector.fromMemorySegment(VectorLanes.B, codes, i, LE)
                  .convertShape(VectorOperators.ZERO_EXTEND_B2I, I, 0);
      IntVector code = signed ? coded.and(0x7f) : coded;
      IntVector bits = code.add(base).lanewise(VectorOperators.LSHL, Float8State.SHIFT);
      if (signed) {
        bits = bits.or(coded.and(0x80).lanewise(VectorOperators.LSHL, 24));
      }
      bits.blend(0, code.compare(VectorOperators.EQ, 0)).intoMemorySegment(y, 4L * i, LE);
    }
  }
}
