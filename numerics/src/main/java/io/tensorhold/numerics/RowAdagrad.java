package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * Row-wise Adagrad: one accumulator for each row of an embedding table, of the mean of the row's
 * squared gradients (Gupta, Bennett, Raghavan, Pan: "Training Recommender Systems at Scale", 2014;
 * as FBGEMM's exact row-wise Adagrad).
 *
 * <p>A row is {@code row} consecutive elements; the last one of a tensor may be shorter. It divides
 * the block size, so that no row lies in two blocks. A push of a part of a block names whole rows.
 */
public final class RowAdagrad extends Optimizer {
  /** Most elements that a row may have. */
  public static final int LONGEST_ROW = 65_536;

  private final double lr;
  private final float initial;
  private final float eps;
  private final int row;

  RowAdagrad(Hyper values) {
    super("adagrad_row", values);
    lr = values.nonNegative("lr", 1e-2);
    initial = (float) values.nonNegative("initial_accumulator", 0);
    eps = (float) values.nonNegative("eps", 1e-10);
    row = (int) values.whole("row", 64, 1, LONGEST_ROW);
    values.nonNegative("l1", 0);
  }

  @Override
  public int slots() {
    return 1;
  }

  @Override
  public int row() {
    return row;
  }

  @Override
  public float initial(int slot) {
    return initial;
  }

  @Override
  public String needsF32State() {
    return "it keeps one value a row only";
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
    Adagrad.Factors f = new Adagrad.Factors((float) (lr * step.rate()), 0, eps);
    for (int first = 0; first < n; first += row) {
      int length = Math.min(row, n - first);
      long at = sOff + 4L * (first / row);
      k.adagradRow(f, w, wOff + 4L * first, g, gOff + 4L * first, s, at, length);
    }
  }
}
