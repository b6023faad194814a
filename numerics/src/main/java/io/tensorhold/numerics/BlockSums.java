package io.tensorhold.numerics;

import java.util.Collection;
import java.util.Comparator;
import java.util.function.ToDoubleFunction;

/**
 * The sums of squares of one block that the next step's factors are made of.
 *
 * @param gradient Σ g², after clipping by value
 * @param weights Σ w²; 0 unless the optimizer takes a trust ratio
 * @param direction Σ u², the direction of LAMB at this step; 0 likewise
 */
public record BlockSums(
    long parameter, int block, double gradient, double weights, double direction) {
  private static final Comparator<BlockSums> ORDER =
      Comparator.<BlockSums, Long>comparing(BlockSums::parameter, Long::compareUnsigned)
          .thenComparing(BlockSums::block, Integer::compareUnsigned);

  /**
   * A sum over blocks of any shards, in the order that is fixed for it: by parameter id, then
   * block, added one after another from 0.
   */
  public static double total(Collection<BlockSums> blocks, ToDoubleFunction<BlockSums> what) {
    double sum = 0;
    for (BlockSums block : blocks.stream().sorted(ORDER).toList()) {
      sum += what.applyAsDouble(block);
    }
    return sum;
  }
}
