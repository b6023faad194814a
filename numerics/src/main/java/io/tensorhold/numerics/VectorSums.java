package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Sums in the fixed order of 16, with vectors of 16 or 8 lanes: a part of VectorOptimizers. */
final class VectorSums {
  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final VectorSpecies<Double> D = DoubleVector.SPECIES_PREFERRED;
  private static final int LANES = F.length();
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

  private VectorSums() {}

  /** See {@link OptimizerKernels#sumOfSquares}. */
  static double ofSquares(MemorySegment x, long off, int n) {
    return switch (LANES) {
      case 16 -> sumOf16(x, off, n);
      case 8 -> sumOf8(x, off, n);
      default -> ScalarOptimizers.INSTANCE.sumOfSquares(x, off, n);
    };
  }

  private static double sumOf16(MemorySegment x, long off, int n) {
    DoubleVector low = DoubleVector.zero(D);
    DoubleVector high = DoubleVector.zero(D);
    for (int i = 0; i < n; i += 16) {
      FloatVector value = upTo(x, off, i, n);
      low = addSquare(low, value, 0);
      high = addSquare(high, value, 1);
    }
    DoubleVector sum = low.add(high);
    return ScalarOptimizers.canonical(
        ((sum.lane(0) + sum.lane(4)) + (sum.lane(2) + sum.lane(6)))
            + ((sum.lane(1) + sum.lane(5)) + (sum.lane(3) + sum.lane(7))));
  }

  private static double sumOf8(MemorySegment x, long off, int n) {
    DoubleVector a = DoubleVector.zero(D);
    DoubleVector b = a;
    DoubleVector c = a;
    DoubleVector d = a;
    for (int i = 0; i < n; i += 16) {
      FloatVector low = upTo(x, off, i, n);
      FloatVector high = upTo(x, off, i + 8, n);
      a = addSquare(a, low, 0);
      b = addSquare(b, low, 1);
      c = addSquare(c, high, 0);
      d = addSquare(d, high, 1);
    }
    DoubleVector sum = a.add(c).add(b.add(d));
    return ScalarOptimizers.canonical((sum.lane(0) + sum.lane(2)) + (sum.lane(1) + sum.lane(3)));
  }

  /** Elements from {@code i} on; zeros, whose squares change no sum, from {@code n} on. */
  private static FloatVector upTo(MemorySegment x, long off, int i, int n) {
    if (i + LANES <= n) {
      return FloatVector.fromMemorySegment(F, x, off + 4L * i, LE);
    }
    VectorMask<Float> inside = F.indexInRange(i, n);
    return FloatVector.fromMemorySegment(F, x, off + 4L * i, LE, inside);
  }

  private static DoubleVector addSquare(DoubleVector sum, FloatVector value, int half) {
    DoubleVector wide = (DoubleVector) value.convertShape(VectorOperators.F2D, D, half);
    return sum.add(wide.mul(wide));
  }
}
