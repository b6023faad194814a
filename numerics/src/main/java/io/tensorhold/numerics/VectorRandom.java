package io.tensorhold.numerics;

import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/** {@link StochasticRounding#bits} for many indices at once. */
final class VectorRandom {
  private VectorRandom() {}

  static IntVector bits(long seed, IntVector indices) {
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
