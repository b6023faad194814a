package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Vectors of as many f32 as this processor takes, and of as many shorter elements: loads, stores
 * and conversions that the SIMD kernels have in common.
 */
final class VectorLanes {
  static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  static final VectorSpecies<Integer> I = F.withLanes(int.class);
  static final int LANES = F.length();
  static final VectorSpecies<Short> S =
      VectorSpecies.of(short.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 2)));
  static final VectorSpecies<Byte> B =
      VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.max(64, F.vectorBitSize() / 4)));

  /**
   * Whether codecs of bytes are cut into these vectors. Vectors of 128 bits would leave 4 bytes at
   * a time, less than the API's shortest vector: there the scalar loops do these codecs.
   */
  static final boolean BYTES = LANES == 8 || LANES == 16;

  static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

  /** The only NaN that arithmetic stores, as Float.floatToIntBits gives it. */
  private static final FloatVector NAN = FloatVector.broadcast(F, Float.NaN);

  private VectorLanes() {}

  static IntVector ints(MemorySegment src, long offset) {
    return IntVector.fromMemorySegment(I, src, offset, LE);
  }

  static FloatVector floats(MemorySegment src, long offset) {
    return FloatVector.fromMemorySegment(F, src, offset, LE);
  }

  /** Stores results of arithmetic: every NaN as the same NaN. */
  static void store(MemorySegment f32, long offset, FloatVector values) {
    VectorMask<Float> isNan = values.compare(VectorOperators.NE, values);
    values.blend(NAN, isNan).intoMemorySegment(f32, offset, LE);
  }

  /** A magnitude with the signs of a vector. */
  static FloatVector withSign(float magnitude, FloatVector signs) {
    IntVector sign = signs.reinterpretAsInts().and(Integer.MIN_VALUE);
    return sign.or(Float.floatToRawIntBits(magnitude)).reinterpretAsFloats();
  }

  /** The low halves of ints. */
  static ShortVector halves(IntVector ints) {
    return (ShortVector) ints.convertShape(VectorOperators.I2S, S, 0);
  }

  /** Halves with zeros above them. */
  static IntVector unsignedHalves(MemorySegment src, long offset) {
    return (IntVector)
        ShortVector.fromMemorySegment(S, src, offset, LE)
            .convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0);
  }

  /** Bytes with their sign extended. */
  static IntVector bytes(MemorySegment src, long offset) {
    return (IntVector)
        ByteVector.fromMemorySegment(B, src, offset, LE).convertShape(VectorOperators.B2I, I, 0);
  }

  /** Stores the low byte of each int. */
  static void storeBytes(IntVector ints, MemorySegment dst, long offset) {
    ((ByteVector) ints.convertShape(VectorOperators.I2B, B, 0)).intoMemorySegment(dst, offset, LE);
  }

  /** Truncates to ints; a NaN becomes 0. */
  static IntVector truncate(FloatVector values) {
    return (IntVector) values.convertShape(VectorOperators.F2I, I, 0);
  }

  static FloatVector toFloats(IntVector ints) {
    return (FloatVector) ints.convertShape(VectorOperators.I2F, F, 0);
  }

  /**
   * Bits of the largest magnitude of the first {@code count} elements, a multiple of the lanes. As
   * integers, magnitudes of f32 are in the order of the values, with NaN above infinity.
   */
  static int largest(MemorySegment f32, int count) {
    IntVector largest = IntVector.zero(I);
    for (int i = 0; i < count; i += LANES) {
      largest = largest.max(ints(f32, 4L * i).and(Integer.MAX_VALUE));
    }
    return largest.reduceLanes(VectorOperators.MAX);
  }
}
