package io.tensorhold.numerics;

import static io.tensorhold.numerics.ScalarFp8.BIAS;
import static io.tensorhold.numerics.ScalarFp8.GROUP;
import static io.tensorhold.numerics.ScalarFp8.GROUP_BYTES;
import static io.tensorhold.numerics.ScalarFp8.LEAST_NORMAL;
import static io.tensorhold.numerics.ScalarFp8.SUBNORMAL;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** fp8_e4m3 with the Vector API. */
final class VectorFp8 extends VectorGroups {
  static final VectorFp8 INSTANCE = new VectorFp8();

  /** Bits of 2¹¹⁹: 448 times a scale up to it is finite. */
  private static final int SAFE = 246 << 23;

  private static final VectorSpecies<Byte> MANY = ByteVector.SPECIES_PREFERRED;

  private VectorFp8() {
    super(Codec.FP8_E4M3, ScalarFp8.INSTANCE, VectorLanes.BYTES);
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
    int largest = VectorLanes.largest(x, GROUP);
    if (largest >= ScalarKernels.F32_EXPONENT) {
      scalar.encode(f32, f32Off, dst, dstOff, GROUP);
      return;
    }
    int scale = ScalarFp8.scale(largest);
    float inverse = ScalarFp8.inverse(scale);
    float limit = ScalarFp8.limit(scale);
    dst.set(ScalarKernels.INT, dstOff, scale);
    MemorySegment codes = dst.asSlice(dstOff + 4, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      IntVector bits = VectorLanes.floats(x, 4L * i).mul(inverse).reinterpretAsInts();
      IntVector magnitude =
          bits.and(Integer.MAX_VALUE).min(Float.floatToRawIntBits(limit)); // as integers in order
      IntVector odd = magnitude.lanewise(VectorOperators.LSHR, 20).and(1);
      IntVector normal = magnitude.sub(BIAS - 0x7_ffff).add(odd).lanewise(VectorOperators.LSHR, 20);
      IntVector subnormal =
          magnitude
              .reinterpretAsFloats()
              .add(SUBNORMAL)
              .reinterpretAsInts()
              .sub(Float.floatToRawIntBits(SUBNORMAL));
      IntVector code = normal.blend(subnormal, magnitude.compare(VectorOperators.LT, LEAST_NORMAL));
      IntVector sign = bits.lanewise(VectorOperators.LSHR, 24).and(0x80);
      VectorLanes.storeBytes(code.or(sign), codes, i);
    }
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, long seed) {
    MemorySegment x = values(f32, f32Off, GROUP);
    int largest = VectorLanes.largest(x, GROUP);
    if (largest >= ScalarKernels.F32_EXPONENT) {
      scalar.encode(f32, f32Off, dst, dstOff, GROUP);
      return;
    }
    int scale = ScalarFp8.scale(largest);
    float inverse = ScalarFp8.inverse(scale);
    int limit = Float.floatToRawIntBits(ScalarFp8.limit(scale));
    dst.set(ScalarKernels.INT, dstOff, scale);
    MemorySegment codes = dst.asSlice(dstOff + 4, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      IntVector bits = VectorLanes.floats(x, 4L * i).mul(inverse).reinterpretAsInts();
      IntVector magnitude = bits.and(Integer.MAX_VALUE).min(limit);
      VectorMask<Integer> small = magnitude.compare(VectorOperators.LT, LEAST_NORMAL);
      IntVector sign = bits.lanewise(VectorOperators.LSHR, 24).and(0x80);
      IntVector random = VectorRandom.bits(seed, i).lanewise(VectorOperators.LSHR, 12);
      IntVector normal = magnitude.sub(BIAS).add(random).lanewise(VectorOperators.LSHR, 20);
      FloatVector fraction =
          ((FloatVector) random.convertShape(VectorOperators.I2F, VectorLanes.F, 0)).mul(0x1p-20f);
      FloatVector sum = magnitude.reinterpretAsFloats().mul(0x1p9f).add(fraction);
      IntVector subnormal = (IntVector) sum.convertShape(VectorOperators.F2I, VectorLanes.I, 0);
      ((ByteVector)
              normal
                  .blend(subnormal, small)
                  .or(sign)
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
    if (!scaleAtMost(SAFE, src, srcOff)) {
      // Only here can a product be NaN: the scalar loop knows which NaN to store.
      ScalarFp8.INSTANCE.decode(src, srcOff, f32, f32Off, GROUP);
      return;
    }
    float scale = ScalarKernels.read(src, srcOff);
    MemorySegment codes = src.asSlice(srcOff + 4, GROUP);
    MemorySegment y = values(f32, f32Off, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      IntVector code = VectorLanes.bytes(codes, i);
      IntVector magnitude = code.and(0x7f);
      // With an exponent of 0 there is no hidden bit: (1 + m) / 128 must become m / 64.
      FloatVector normal =
          magnitude.lanewise(VectorOperators.LSHL, 20).add(BIAS).reinterpretAsFloats();
      FloatVector absolute =
          normal.blend(
              normal.add(normal).sub(0x1p-6f),
              magnitude.compare(VectorOperators.LT, 8).cast(VectorLanes.F));
      IntVector bits = absolute.reinterpretAsInts().or(code.and(Integer.MIN_VALUE));
      IntVector value = bits.reinterpretAsFloats().mul(scale).reinterpretAsInts();
      int nan = Float.floatToRawIntBits(Float.NaN);
      value
          .blend(nan, magnitude.compare(VectorOperators.EQ, ScalarFp8.NAN))
          .intoMemorySegment(y, 4L * i, LE);
    }
  }

  @Override
  boolean finite(MemorySegment encoded, long groupOff) {
    if (!scaleAtMost(SAFE, encoded, groupOff)) {
      return false;
    }
    for (int i = 0; i < GROUP; i += MANY.length()) {
      ByteVector magnitude =
          ByteVector.fromMemorySegment(MANY, encoded, groupOff + 4 + i, LE).and((byte) 0x7f);
      if (magnitude.compare(VectorOperators.EQ, (byte) ScalarFp8.NAN).anyTrue()) {
        return false;
      }
    }
    return true;
  }
}
