package io.tensorhold.numerics;

import static io.tensorhold.numerics.ScalarNf4.GROUP;
import static io.tensorhold.numerics.ScalarNf4.GROUP_BYTES;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * nf4 with the Vector API. It needs vectors of 16 lanes: into one goes the table, and half as many
 * bytes are the API's shortest vector. On shorter ones the scalar loops do this codec.
 */
final class VectorNf4 extends VectorGroups {
  static final VectorNf4 INSTANCE = new VectorNf4();

  private static final VectorSpecies<Long> L = LongVector.SPECIES_512;
  private static final VectorSpecies<Byte> PAIRS = ByteVector.SPECIES_64;
  private static final FloatVector TABLE =
      FloatVector.fromArray(FloatVector.SPECIES_512, ScalarNf4.TABLE, 0);
  private static final FloatVector INVERSE_GAP =
      FloatVector.fromArray(FloatVector.SPECIES_512, ScalarNf4.INVERSE_GAP, 0);

  private VectorNf4() {
    super(Codec.NF4, ScalarNf4.INSTANCE, LANES == 16);
  }

  @Override
  public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
    int groups = vectors ? n / GROUP : 0;
    for (int g = 0; g < groups; g++) {
      encodeGroup(f32, f32Off + 4L * GROUP * g, dst, dstOff + (long) GROUP_BYTES * g);
    }
    int done = groups * GROUP;
    scalar.encode(f32, f32Off + 4L * done, dst, dstOff + (long) groups * GROUP_BYTES, n - done);
  }

  private void encodeGroup(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff) {
    MemorySegment values = values(f32, f32Off, GROUP);
    float absmax = Float.intBitsToFloat(VectorLanes.largest(values, GROUP));
    float inverse = ScalarNf4.inverse(absmax);
    if (inverse == 0) {
      scalar.encode(f32, f32Off, dst, dstOff, GROUP);
      return;
    }
    dst.set(ScalarKernels.INT, dstOff, Float.floatToRawIntBits(absmax));
    MemorySegment pairs = dst.asSlice(dstOff + 4, GROUP / 2);
    for (int i = 0; i < GROUP; i += LANES) {
      FloatVector x = VectorLanes.floats(values, 4L * i).mul(inverse);
      storePairs(codes(x), pairs, i / 2);
    }
  }

  private static void storePairs(IntVector codes, MemorySegment dst, long offset) {
    // A long holds an even code and, above it, the odd one that follows.
    LongVector two = codes.reinterpretAsLongs();
    LongVector pair =
        two.lanewise(VectorOperators.LSHL, 4).or(two.lanewise(VectorOperators.LSHR, 32));
    ((ByteVector) pair.convertShape(VectorOperators.L2B, PAIRS, 0))
        .intoMemorySegment(dst, offset, LE);
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, long seed) {
    MemorySegment values = values(f32, f32Off, GROUP);
    float absmax = Float.intBitsToFloat(VectorLanes.largest(values, GROUP));
    float inverse = ScalarNf4.inverse(absmax);
    if (inverse == 0) {
      scalar.encodeStochastic(f32, f32Off, dst, dstOff, GROUP, seed);
      return;
    }
    dst.set(ScalarKernels.INT, dstOff, Float.floatToRawIntBits(absmax));
    MemorySegment pairs = dst.asSlice(dstOff + 4, GROUP / 2);
    for (int i = 0; i < GROUP; i += LANES) {
      FloatVector x = VectorLanes.floats(values, 4L * i).mul(inverse);
      IntVector code = IntVector.zero(VectorLanes.I);
      for (int next = 1; next < 16; next++) {
        VectorMask<Float> reached = x.compare(VectorOperators.GE, ScalarNf4.TABLE[next]);
        code = code.add(1, reached.cast(VectorLanes.I));
      }
      var place = code.toShuffle().cast(FloatVector.SPECIES_512);
      FloatVector way = x.sub(TABLE.rearrange(place)).mul(INVERSE_GAP.rearrange(place));
      VectorMask<Float> up = VectorRandom.fractions(seed, i).compare(VectorOperators.LT, way);
      storePairs(code.add(1, up.cast(VectorLanes.I)), pairs, i / 2);
    }
  }

  private static IntVector codes(FloatVector x) {
    IntVector code = IntVector.zero(VectorLanes.I);
    for (float middle : ScalarNf4.ABOVE) {
      code = code.add(1, x.compare(VectorOperators.GT, middle).cast(VectorLanes.I));
    }
    return code;
  }

  @Override
  public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    int groups = vectors ? n / GROUP : 0;
    for (int g = 0; g < groups; g++) {
      decodeGroup(src, srcOff + (long) GROUP_BYTES * g, f32, f32Off + 4L * GROUP * g);
    }
    int done = groups * GROUP;
    scalar.decode(src, srcOff + (long) groups * GROUP_BYTES, f32, f32Off + 4L * done, n - done);
  }

  private static void decodeGroup(MemorySegment src, long srcOff, MemorySegment f32, long f32Off) {
    if (!scaleAtMost(ScalarKernels.F32_EXPONENT - 1, src, srcOff)) {
      // Only here can a product be NaN: the scalar loop knows which NaN to store.
      ScalarNf4.INSTANCE.decode(src, srcOff, f32, f32Off, GROUP);
      return;
    }
    float absmax = ScalarKernels.read(src, srcOff);
    MemorySegment pairs = src.asSlice(srcOff + 4, GROUP / 2);
    MemorySegment values = values(f32, f32Off, GROUP);
    for (int i = 0; i < GROUP; i += LANES) {
      LongVector pair =
          (LongVector)
              ByteVector.fromMemorySegment(PAIRS, pairs, i / 2, LE)
                  .convertShape(VectorOperators.B2L, L, 0);
      LongVector even = pair.lanewise(VectorOperators.LSHR, 4).and(15);
      LongVector odd = pair.and(15).lanewise(VectorOperators.LSHL, 32);
      IntVector codes = even.or(odd).reinterpretAsInts();
      TABLE
          .rearrange(codes.toShuffle().cast(FloatVector.SPECIES_512))
          .mul(absmax)
          .intoMemorySegment(values, 4L * i, LE);
    }
  }

  @Override
  boolean finite(MemorySegment encoded, long groupOff) {
    return scaleAtMost(ScalarKernels.F32_EXPONENT - 1, encoded, groupOff);
  }
}
