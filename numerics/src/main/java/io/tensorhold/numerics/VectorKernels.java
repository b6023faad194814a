package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * The loops over elements with the JDK's Vector API, bit-equal to {@link ScalarKernels}, which also
 * does what is left over at the end of each loop.
 *
 * <p>Every method does the operations of the scalar one in the same order; each lane is one
 * element, and no lane looks at another, so neither the width of the vectors nor the alignment can
 * change a result. Conversions to 16 bits work on integers, where no processor touches a NaN.
 */
final class VectorKernels implements Kernels {
  /** Fewer lanes than this are not worth it, and q8_0 could not be cut into them. */
  static final int FEWEST_LANES = 4;

  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Integer> I = F.withLanes(int.class);
  private static final int LANES = F.length();
  private static final VectorSpecies<Short> S =
      VectorSpecies.of(short.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 2)));
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final OptimizerKernels OPTIMIZERS = new VectorOptimizers();
  private static final ScalarKernels TAIL = ScalarKernels.INSTANCE;

  /** The only NaN that arithmetic stores, as Float.floatToIntBits gives it. */
  private static final FloatVector NAN = FloatVector.broadcast(F, Float.NaN);

  /** How many f32 a vector of this processor holds. */
  static int lanes() {
    return LANES;
  }

  @Override
  public String name() {
    return "simd-" + F.vectorBitSize();
  }

  @Override
  public void encodeF16(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      IntVector half = toF16(IntVector.fromMemorySegment(I, f32, f32Off + 4L * i, LE));
      narrow(half).intoMemorySegment(dst, dstOff + 2L * i, LE);
    }
    TAIL.encodeF16(f32, f32Off + 4L * bound, dst, dstOff + 2L * bound, n - bound);
  }

  private static ShortVector narrow(IntVector halves) {
    return (ShortVector) halves.convertShape(VectorOperators.I2S, S, 0);
  }

  private static IntVector widen(MemorySegment src, long offset) {
    return (IntVector)
        ShortVector.fromMemorySegment(S, src, offset, LE)
            .convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0);
  }

  /** The nearest f16, in the low 16 bits of each lane. */
  private static IntVector toF16(IntVector bits) {
    IntVector magnitude = bits.and(Integer.MAX_VALUE);
    // Normal: move the exponent's bias from 127 to 15; then round the low 13 bits off, half to
    // even.
    IntVector odd = magnitude.lanewise(VectorOperators.LSHR, 13).and(1);
    IntVector half = magnitude.sub((112 << 23) - 0xfff).add(odd).lanewise(VectorOperators.LSHR, 13);
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
  public void decodeF16(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      fromF16(widen(src, srcOff + 2L * i)).intoMemorySegment(f32, f32Off + 4L * i, LE);
    }
    TAIL.decodeF16(src, srcOff + 2L * bound, f32, f32Off + 4L * bound, n - bound);
  }

  /** The bits of the f32 that equals the f16 in the low 16 bits of each lane. */
  private static IntVector fromF16(IntVector half) {
    IntVector magnitude = half.and(0x7fff);
    IntVector shifted = magnitude.lanewise(VectorOperators.LSHL, 13);
    IntVector bits = shifted.add(112 << 23);
    // Subnormal or zero: the bits are a whole number of 2^-24, exact in f32.
    IntVector subnormal =
        ((FloatVector) magnitude.convertShape(VectorOperators.I2F, F, 0))
            .mul(0x1p-24f)
            .reinterpretAsInts();
    bits = bits.blend(subnormal, magnitude.compare(VectorOperators.LT, 0x400));
    bits =
        bits.blend(
            shifted.or(ScalarKernels.F32_EXPONENT),
            magnitude.compare(VectorOperators.GE, ScalarKernels.F16_EXPONENT));
    return bits.or(half.and(0x8000).lanewise(VectorOperators.LSHL, 16));
  }

  @Override
  public void encodeBf16(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      IntVector bits = IntVector.fromMemorySegment(I, f32, f32Off + 4L * i, LE);
      IntVector high = bits.lanewise(VectorOperators.LSHR, 16);
      IntVector rounded = bits.add(0x7fff).add(high.and(1)).lanewise(VectorOperators.LSHR, 16);
      VectorMask<Integer> isNan =
          bits.and(Integer.MAX_VALUE).compare(VectorOperators.GT, ScalarKernels.F32_EXPONENT);
      narrow(rounded.blend(high.and(0x8000).or(0x7fc0), isNan))
          .intoMemorySegment(dst, dstOff + 2L * i, LE);
    }
    TAIL.encodeBf16(f32, f32Off + 4L * bound, dst, dstOff + 2L * bound, n - bound);
  }

  @Override
  public void decodeBf16(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      widen(src, srcOff + 2L * i)
          .lanewise(VectorOperators.LSHL, 16)
          .intoMemorySegment(f32, f32Off + 4L * i, LE);
    }
    TAIL.decodeBf16(src, srcOff + 2L * bound, f32, f32Off + 4L * bound, n - bound);
  }

  @Override
  public void encodeQ80(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    VectorQ80.encode(f32, f32Off, dst, dstOff, n);
  }

  @Override
  public void decodeQ80(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    VectorQ80.decode(src, srcOff, f32, f32Off, n);
  }

  @Override
  public int firstNonFinite(Codec codec, MemorySegment encoded, long offset, int n) {
    int clean =
        switch (codec) {
          case F32 -> finiteF32(encoded, offset, n);
          case F16 -> finite16(encoded, offset, (short) ScalarKernels.F16_EXPONENT, n);
          case BF16 -> finite16(encoded, offset, (short) ScalarKernels.BF16_EXPONENT, n);
          case Q8_0, RAW -> 0;
        };
    long bytes = clean == 0 ? 0 : codec.bytes(DType.F32, clean);
    int found = TAIL.firstNonFinite(codec, encoded, offset + bytes, n - clean);
    return found < 0 ? -1 : clean + found;
  }

  /** How many elements, in whole vectors from the first on, are known to be finite. */
  private static int finiteF32(MemorySegment f32, long offset, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      IntVector exponent =
          IntVector.fromMemorySegment(I, f32, offset + 4L * i, LE).and(ScalarKernels.F32_EXPONENT);
      if (exponent.compare(VectorOperators.EQ, ScalarKernels.F32_EXPONENT).anyTrue()) {
        return i;
      }
    }
    return bound;
  }

  private static int finite16(MemorySegment halves, long offset, short mask, int n) {
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

  @Override
  public void add(MemorySegment w, long wOff, MemorySegment g, long gOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      write(w, wOff + 4L * i, read(w, wOff + 4L * i).add(read(g, gOff + 4L * i)));
    }
    TAIL.add(w, wOff + 4L * bound, g, gOff + 4L * bound, n - bound);
  }

  @Override
  public void scale(MemorySegment f32, long off, float factor, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      write(f32, off + 4L * i, read(f32, off + 4L * i).mul(factor));
    }
    TAIL.scale(f32, off + 4L * bound, factor, n - bound);
  }

  @Override
  public OptimizerKernels optimizers() {
    return OPTIMIZERS;
  }

  private static FloatVector read(MemorySegment f32, long offset) {
    return FloatVector.fromMemorySegment(F, f32, offset, LE);
  }

  private static void write(MemorySegment f32, long offset, FloatVector value) {
    value.blend(NAN, value.test(VectorOperators.IS_NAN)).intoMemorySegment(f32, offset, LE);
  }
}
