package io.tensorhold.numerics;

import static io.tensorhold.numerics.VectorLanes.F;
import static io.tensorhold.numerics.VectorLanes.I;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * f32, f16 and bf16 with the Vector API. Conversions work on integers: no processor touches NaN.
 */
final class VectorHalf {
  private VectorHalf() {}

  static final class F32 implements CodecKernel {
    static final F32 INSTANCE = new F32();

    private F32() {}

    @Override
    public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
      MemorySegment.copy(f32, f32Off, dst, dstOff, 4L * n);
    }

    @Override
    public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
      MemorySegment.copy(src, srcOff, f32, f32Off, 4L * n);
    }

    @Override
    public int firstNonFinite(MemorySegment encoded, long offset, int n) {
      int i = 0;
      for (; i < F.loopBound(n); i += LANES) {
        IntVector exponent =
            VectorLanes.ints(encoded, offset + 4L * i).and(ScalarKernels.F32_EXPONENT);
        if (exponent.compare(VectorOperators.EQ, ScalarKernels.F32_EXPONENT).anyTrue()) {
          break;
        }
      }
      int found = ScalarHalf.F32.INSTANCE.firstNonFinite(encoded, offset + 4L * i, n - i);
      return found < 0 ? -1 : i + found;
    }
  }

  static final class F16 implements CodecKernel {
    static final F16 INSTANCE = new F16();

    private F16() {}

    @Override
    public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
      int bound = F.loopBound(n);
      for (int i = 0; i < bound; i += LANES) {
        IntVector half = toF16(VectorLanes.ints(f32, f32Off + 4L * i));
        VectorLanes.halves(half).intoMemorySegment(dst, dstOff + 2L * i, LE);
      }
      ScalarHalf.F16.INSTANCE.encode(f32, f32Off + 4L * bound, dst, dstOff + 2L * bound, n - bound);
    }

    @Override
    public void encodeStochastic(
        MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n, long seed) {
      int bound = F.loopBound(n);
      for (int i = 0; i < bound; i += LANES) {
        IntVector bits = VectorLanes.ints(f32, f32Off + 4L * i);
        IntVector magnitude = bits.and(Integer.MAX_VALUE);
        IntVector sign = bits.lanewise(VectorOperators.LSHR, 16).and(0x8000);
        IntVector random = VectorRandom.bits(seed, i).lanewise(VectorOperators.LSHR, 19);
        IntVector normal =
            magnitude
                .sub(ScalarHalf.F16_BIAS)
                .add(random)
                .lanewise(VectorOperators.LSHR, 13)
                .min(ScalarHalf.F16_MAX);
        FloatVector fraction =
            ((FloatVector) random.convertShape(VectorOperators.I2F, F, 0)).mul(0x1p-13f);
        FloatVector sum = magnitude.reinterpretAsFloats().mul(0x1p24f).add(fraction);
        IntVector subnormal = (IntVector) sum.convertShape(VectorOperators.F2I, I, 0);
        IntVector nan = magnitude.lanewise(VectorOperators.LSHR, 13).and(0x1ff).or(0x7e00);
        IntVector half =
            normal
                .blend(
                    subnormal, magnitude.compare(VectorOperators.LT, ScalarHalf.LEAST_NORMAL_F16))
                .blend(0x7c00, magnitude.compare(VectorOperators.EQ, ScalarKernels.F32_EXPONENT))
                .blend(nan, magnitude.compare(VectorOperators.GT, ScalarKernels.F32_EXPONENT))
                .or(sign);
        ((ShortVector) half.convertShape(VectorOperators.I2S, VectorLanes.S, 0))
            .intoMemorySegment(dst, dstOff + 2L * i, LE);
      }
      ScalarHalf.F16.INSTANCE.encodeStochastic(
          f32,
          f32Off + 4L * bound,
          dst,
          dstOff + 2L * bound,
          n - bound,
          StochasticRounding.advance(seed, bound));
    }

    /** The nearest f16, in the low 16 bits of each lane. */
    private static IntVector toF16(IntVector bits) {
      IntVector magnitude = bits.and(Integer.MAX_VALUE);
      // Normal: move the exponent's bias from 127 to 15; then round the low 13 bits off, half to
      // even.
      IntVector odd = magnitude.lanewise(VectorOperators.LSHR, 13).and(1);
      IntVector half =
          magnitude.sub((112 << 23) - 0xfff).add(odd).lanewise(VectorOperators.LSHR, 13);
      // Below 2^-14: adding 0.5 leaves the multiple of 2^-24 in the low bits, rounded by the adder.
      IntVector subnormal =
          magnitude.reinterpretAsFloats().add(0.5f).reinterpretAsInts().sub(0x3f00_0000);
      half = half.blend(subnormal, magnitude.compare(VectorOperators.LT, 113 << 23));
      half = half.blend(0x7c00, magnitude.compare(VectorOperators.GE, 143 << 23));
      IntVector nan = magnitude.lanewise(VectorOperators.LSHR, 13).and(0x1ff).or(0x7e00);
      half = half.blend(nan, magnitude.compare(VectorOperators.GT, ScalarKernels.F32_EXPONENT));
      return half.or(bits.lanewise(VectorOperators.LSHR, 16).and(0x8000));
    }

    @Override
    public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
      int bound = F.loopBound(n);
      for (int i = 0; i < bound; i += LANES) {
        fromF16(VectorLanes.unsignedHalves(src, srcOff + 2L * i))
            .intoMemorySegment(f32, f32Off + 4L * i, LE);
      }
      ScalarHalf.F16.INSTANCE.decode(src, srcOff + 2L * bound, f32, f32Off + 4L * bound, n - bound);
    }

    /** The bits of the f32 that equals the f16 in the low 16 bits of each lane. */
    private static IntVector fromF16(IntVector half) {
      IntVector magnitude = half.and(0x7fff);
      IntVector shifted = magnitude.lanewise(VectorOperators.LSHL, 13);
      IntVector bits = shifted.add(112 << 23);
      // Subnormal or zero: the bits are a whole number of 2^-24, exact in f32.
      IntVector subnormal = VectorLanes.toFloats(magnitude).mul(0x1p-24f).reinterpretAsInts();
      bits = bits.blend(subnormal, magnitude.compare(VectorOperators.LT, 0x400));
      bits =
          bits.blend(
              shifted.or(ScalarKernels.F32_EXPONENT),
              magnitude.compare(VectorOperators.GE, ScalarHalf.F16_EXPONENT));
      return bits.or(half.and(0x8000).lanewise(VectorOperators.LSHL, 16));
    }

    @Override
    public int firstNonFinite(MemorySegment encoded, long offset, int n) {
      int clean = finite(encoded, offset, (short) ScalarHalf.F16_EXPONENT, n);
      int found = ScalarHalf.F16.INSTANCE.firstNonFinite(encoded, offset + 2L * clean, n - clean);
      return found < 0 ? -1 : clean + found;
    }
  }

  static final class Bf16 implements CodecKernel {
    static final Bf16 INSTANCE = new Bf16();

    private Bf16() {}

    @Override
    public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
      int bound = F.loopBound(n);
      for (int i = 0; i < bound; i += LANES) {
        IntVector half = toBf16(VectorLanes.ints(f32, f32Off + 4L * i));
        VectorLanes.halves(half).intoMemorySegment(dst, dstOff + 2L * i, LE);
      }
      ScalarHalf.Bf16.INSTANCE.encode(
          f32, f32Off + 4L * bound, dst, dstOff + 2L * bound, n - bound);
    }

    private static IntVector toBf16(IntVector bits) {
      IntVector high = bits.lanewise(VectorOperators.LSHR, 16);
      IntVector rounded = bits.add(0x7fff).add(high.and(1)).lanewise(VectorOperators.LSHR, 16);
      VectorMask<Integer> isNan =
          bits.and(Integer.MAX_VALUE).compare(VectorOperators.GT, ScalarKernels.F32_EXPONENT);
      return rounded.blend(high.and(0x8000).or(0x7fc0), isNan);
    }

    @Override
    public void encodeStochastic(
        MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n, long seed) {
      int bound = F.loopBound(n);
      for (int i = 0; i < bound; i += LANES) {
        IntVector bits = VectorLanes.ints(f32, f32Off + 4L * i);
        IntVector nearest = toBf16(bits);
        IntVector magnitude = bits.and(Integer.MAX_VALUE);
        IntVector random = VectorRandom.bits(seed, i).lanewise(VectorOperators.LSHR, 16);
        IntVector rounded =
            magnitude
                .add(random)
                .min(ScalarHalf.BF16_MAX)
                .or(bits.and(Integer.MIN_VALUE))
                .lanewise(VectorOperators.LSHR, 16);
        IntVector half =
            nearest.blend(
                rounded, magnitude.compare(VectorOperators.LT, ScalarKernels.F32_EXPONENT));
        ((ShortVector) half.convertShape(VectorOperators.I2S, VectorLanes.S, 0))
            .intoMemorySegment(dst, dstOff + 2L * i, LE);
      }
      ScalarHalf.Bf16.INSTANCE.encodeStochastic(
          f32,
          f32Off + 4L * bound,
          dst,
          dstOff + 2L * bound,
          n - bound,
          StochasticRounding.advance(seed, bound));
    }

    @Override
    public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
      int bound = F.loopBound(n);
      for (int i = 0; i < bound; i += LANES) {
        VectorLanes.unsignedHalves(src, srcOff + 2L * i)
            .lanewise(VectorOperators.LSHL, 16)
            .intoMemorySegment(f32, f32Off + 4L * i, LE);
      }
      ScalarHalf.Bf16.INSTANCE.decode(
          src, srcOff + 2L * bound, f32, f32Off + 4L * bound, n - bound);
    }

    @Override
    public int firstNonFinite(MemorySegment encoded, long offset, int n) {
      int clean = finite(encoded, offset, (short) ScalarHalf.BF16_EXPONENT, n);
      int found = ScalarHalf.Bf16.INSTANCE.firstNonFinite(encoded, offset + 2L * clean, n - clean);
      return found < 0 ? -1 : clean + found;
    }
  }

  /** How many halves, in whole vectors from the first on, are known to be finite. */
  private static int finite(MemorySegment halves, long offset, short mask, int n) {
    VectorSpecies<Short> species = ShortVector.SPECIES_PREFERRED;
    int bound = species.loopBound(n);
    for (int i = 0; i < bound; i += species.length()) {
      ShortVector exponent =
          ShortVector.fromMemorySegment(species, halves, offset + 2L * i, LE).and(mask);
      if (exponent.compare(VectorOperators.EQ, mask).anyTrue()) {
        return i;
      }
    }
    return bound;
  }
}
