package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * Model averaging: what workers send are their weights, not gradients, and the stored weights move
 * towards them by a share {@code weight} of the distance: elastic averaging (Zhang, Choromanska,
 * LeCun: "Deep learning with Elastic Averaging SGD", 2015). With weight 1 in a bulk synchronous
 * model they become the mean of all workers' weights.
 */
public final class Average extends Optimizer {
  private final double weight;

  Average(Hyper values) {
    super("average", values);
    weight = values.share("weight", 0.5);
  }

  @Override
  public int slots() {
    return 0;
  }

  @Override
  void update(
      OptimizerKernels k,
      Step step,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    k.average((float) (weight * step.rate()), w, wOff, g, gOff, n);
  }
}
