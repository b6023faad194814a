package io.tensorhold.numerics;

import static io.tensorhold.numerics.ScalarQ40.GROUP;
import static io.tensorhold.numerics.ScalarQ40.GROUP_BYTES;
import static io.tensorhold.numerics.ScalarQ40.HALF;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.LE;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/** q4_0 with the Vector API. */
final class VectorQ40 extends VectorGroups {
  static final VectorQ40 INSTANCE = new VectorQ40();

  private VectorQ40() {
    super(Codec.Q4_0, ScalarQ40.INSTANCE, VectorLanes.BYTES);
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
    float inverse = ScalarQ40.inverse(ScalarQ40.writeScale(dst, dstOff, firstLargest(values)));
    MemorySegment pairsOut = dst.asSlice(dstOff + 2, HALF);
    for (int i = 0; i < HALF; i += LANES) {
      IntVector low = codes(values, 4L * i, inverse);
      IntVector high = codes(values, 4L * (i + HALF), inverse);
      IntVector pairs = low.or(high.lanewise(VectorOperators.LSHL, 4));
      VectorLanes.storeBytes(pairs, pairsOut, i);
    }
  }

  /** The first element with the largest magnitude. */
  private static float firstLargest(MemorySegment values) {
    int largest = VectorLanes.largest(values, GROUP);
    long isLargest = 0; // a bit for each element
    for (int i = GROUP - LANES; i >= 0; i -= LANES) {
      IntVector magnitude = VectorLanes.ints(values, 4L * i).and(Integer.MAX_VALUE);
      isLargest = isLargest << LANES | magnitude.compare(VectorOperators.EQ, largest).toLong();
    }
    return ScalarKernels.read(values, 4L * Long.numberOfTrailingZeros(isLargest));
  }

  @Override
  void encodeGroupStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, long seed) {
    MemorySegment values = values(f32, f32Off, GROUP);
    ScalarQ40.writeScale(dst, dstOff, firstLargest(values));
    float inverse = ScalarQ40.inverse(ScalarQ80.scale(dst, dstOff));
    MemorySegment pairs = dst.asSlice(dstOff + 2, HALF);
    for (int i = 0; i < GROUP; i += LANES) { // the low nibbles of all, then the high ones
      FloatVector quotient = VectorLanes.floats(values, 4L * i).mul(inverse);
      IntVector before = VectorLanes.bytes(pairs, i % HALF).and(i < HALF ? 0 : 15);
      FloatVector sum = quotient.add(8f).add(VectorRandom.fractions(seed, i));
      IntVector code = (IntVector) sum.convertShape(VectorOperators.F2I, VectorLanes.I, 0);
      IntVector nibbles =
          code.max(0).min(15).lanewise(VectorOperators.LSHL, i < HALF ? 0 : 4).or(before);
      ((ByteVector) nibbles.convertShape(VectorOperators.I2B, VectorLanes.B, 0))
          .intoMemorySegment(pairs, i % HALF, LE);
    }
  }

  private static IntVector codes(MemorySegment f32, long offset, float inverse) {
    return VectorLanes.truncate(VectorLanes.floats(f32, offset).mul(inverse).add(8.5f)).min(15);
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
      ScalarQ40.INSTANCE.decode(src, srcOff, f32, f32Off, GROUP);
      return;
    }
    float d = ScalarQ80.scale(src, srcOff);
    MemorySegment pairsIn = src.asSlice(srcOff + 2, HALF);
    MemorySegment values = values(f32, f32Off, GROUP);
    for (int i = 0; i < HALF; i += LANES) {
      IntVector pairs = VectorLanes.bytes(pairsIn, i);
      IntVector low = pairs.and(15).sub(8);
      IntVector high = pairs.lanewise(VectorOperators.LSHR, 4).and(15).sub(8);
      VectorLanes.toFloats(low).mul(d).intoMemorySegment(values, 4L * i, LE);
      VectorLanes.toFloats(high).mul(d).intoMemorySegment(values, 4L * (i + HALF), LE);
    }
  }

  @Override
  boolean finite(MemorySegment encoded, long groupOff) {
    return finiteHalf(encoded, groupOff);
  }
}
