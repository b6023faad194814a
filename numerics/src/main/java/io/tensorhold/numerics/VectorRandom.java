package io.tensorhold.numerics;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/** {@link StochasticRounding#bits} for many indices at once. */
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
    return VectorLanes.toFloats(upper).mul(StochasticRounding.FRACTION);
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
