package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * {@link Float8State} with the Vector API: a part of {@link VectorOptimizers}. With vectors of 128
 * bits the scalar loops do it, as {@link VectorQ80} explains.
 */
final class VectorFloat8 {
  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Integer> I = F.withLanes(int.class);
  private static final int LANES = F.length();
  private static final VectorSpecies<Byte> B =
      VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 4)));
  private static final boolean WIDE = LANES >= 8;
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(LE);

  private VectorFloat8() {}

  static void encode(
      boolean signed,
      long seed,
      MemorySegment f32,
      long f32Off,
      MemorySegment dst,
      long dstOff,
      int n) {
    for (int first = 0; first < n; first += Float8State.GROUP) {
      int length = Math.min(Float8State.GROUP, n - first);
      long from = f32Off + 4L * first;
      int bound = WIDE ? F.loopBound(length) : 0;
      int base = Float8State.base(largest(f32, from, bound, length), signed);
      dst.set(SHORT, dstOff, (short) base);
      for (int i = 0; i < bound; i += LANES) {
        IntVector bits = IntVector.fromMemorySegment(I, f32, from + 4L * i, LE);
        codes(signed, bits, random(seed, first + i), base)
            .convertShape(VectorOperators.I2B, B, 0)
            .reinterpretAsBytes()
            .intoMemorySegment(dst, dstOff + 2 + i, LE);
      }
      Float8State.codes(
          signed,
          seed,
          first + bound,
          base,
          f32,
          from + 4L * bound,
          dst,
          dstOff + 2 + bound,
          length - bound);
      dstOff += 2 + length;
    }
  }

  private static int largest(MemorySegment f32, long from, int bound, int n) {
    IntVector most = IntVector.zero(I);
    for (int i = 0; i < bound; i += LANES) {
      most =
          most.max(IntVector.fromMemorySegment(I, f32, from + 4L * i, LE).and(Integer.MAX_VALUE));
    }
    int largest = most.reduceLanes(VectorOperators.MAX);
    for (int i = bound; i < n; i++) {
      int bits = Float.floatToRawIntBits(ScalarOptimizers.read(f32, from + 4L * i));
      largest = Math.max(largest, bits & Integer.MAX_VALUE);
    }
    return largest;
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
          ((FloatVector) random.convertShape(VectorOperators.I2F, F, 0))
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
    for (int first = 0; first < n; first += Float8State.GROUP) {
      int length = Math.min(Float8State.GROUP, n - first);
      long to = f32Off + 4L * first;
      int bound = WIDE ? F.loopBound(length) : 0;
      int base = Short.toUnsignedInt(src.get(SHORT, srcOff));
      for (int i = 0; i < bound; i += LANES) {
        IntVector coded =
            (IntVector)
                ByteVector.fromMemorySegment(B, src, srcOff + 2 + i, LE)
                    .convertShape(VectorOperators.ZERO_EXTEND_B2I, I, 0);
        IntVector code = signed ? coded.and(0x7f) : coded;
        IntVector bits = code.add(base).lanewise(VectorOperators.LSHL, Float8State.SHIFT);
        if (signed) {
          bits = bits.or(coded.and(0x80).lanewise(VectorOperators.LSHL, 24));
        }
        bits.blend(0, code.compare(VectorOperators.EQ, 0)).intoMemorySegment(f32, to + 4L * i, LE);
      }
      Float8State.values(
          signed, base, src, srcOff + 2 + bound, f32, to + 4L * bound, length - bound);
      srcOff += 2 + length;
    }
  }
}
