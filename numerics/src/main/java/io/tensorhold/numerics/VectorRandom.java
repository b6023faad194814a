package io.tensorhold.numerics;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/**
 * {@link StochasticRounding#bits} for many indices at once.
 *
 * <p>The hash is so many nodes of the JIT's graph that what follows it in a loop is beyond the
 * limit (NodeCountInliningCutoff) up to which our own methods are inlined; and a vector that is
 * handed to a method that is not inlined is allocated. So the loops call this late, only once, and
 * after it only the API's methods, which are always inlined.
 */
final class VectorRandom {
  private static final IntVector PLACES = IntVector.zero(VectorLanes.I).addIndex(1);

  private VectorRandom() {}

  /** {@link StochasticRounding#bits} for the indices from {@code first} on. */
  static IntVector bits(long seed, int first) {
    return bits(seed, PLACES.add(first));
  }

  /** {@link StochasticRounding#fraction} for the indices from {@code first} on. */
  static FloatVector fractions(long seed, int first) {
    IntVector upper = bits(seed, first).lanewise(VectorOperators.LSHR, 16);
    FloatVector whole = (FloatVector) upper.convertShape(VectorOperators.I2F, VectorLanes.F, 0);
    return whole.mul(StochasticRounding.FRACTION);
  }

  private static IntVector bits(long seed, IntVector indices) {
    return mix(mix(indices.add((int) seed)).lanewise(VectorOperators.XOR, (int) (seed >>> 32)));
  }

  private static IntVector mix(IntVector x) {
    IntVector h = fold(x, 16).mul(StochasticRounding.MUL1);
    h = fold(h, 13).mul(StochasticRounding.MUL2);
    return fold(h, 16);
  }

  private static IntVector fold(IntVector x, int shift) {
    return x.lanewise(VectorOperators.XOR, x.lanewise(VectorOperators.LSHR, shift));
  }
}
