package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.store.RowLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Map;
import java.util.TreeMap;

/**
 * How many rows there are, by the L2 norm of their weights and by their optimizer steps: counts for
 * each power of two.
 */
public final class RowSums implements AutoCloseable {
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final ParameterRecord table;
  private final Kernels kernels;
  private final MemorySegment weights;
  private final TreeMap<Integer, Long> norms = new TreeMap<>();
  private final TreeMap<Integer, Long> steps = new TreeMap<>();
  private long rows;
  private long zero;
  private long nonfinite;
  private long noSteps;

  /** Of no rows of a table. */
  public RowSums(ParameterRecord table, Kernels kernels) {
    this.table = table;
    this.kernels = kernels;
    this.weights = OffHeap.allocate(4L * table.form().dim());
  }

  void add(MemorySegment memory, long row) {
    rows++;
    double norm = norm(kernels, table, memory, row, weights);
    if (norm == 0) {
      zero++;
    } else if (Double.isFinite(norm)) {
      norms.merge(Math.getExponent(norm), 1L, Long::sum);
    } else {
      nonfinite++;
    }
    long made = RowLayout.step(memory, row);
    if (made == 0) {
      noSteps++;
    } else {
      steps.merge(63 - Long.numberOfLeadingZeros(made), 1L, Long::sum);
    }
  }

  /**
   * The L2 norm of a row's weights: squares in f64, added from the first element on.
   *
   * @param scratch of at least four bytes for each element
   */
  static double norm(
      Kernels kernels,
      ParameterRecord table,
      MemorySegment memory,
      long row,
      MemorySegment scratch) {
    int dim = table.form().dim();
    MemorySegment values = memory;
    long at = row + RowLayout.HEADER_BYTES;
    if (table.codec() != Codec.F32) {
      table.codec().decode(kernels, memory, at, scratch, 0, dim);
      values = scratch;
      at = 0;
    }
    double sum = 0;
    for (int i = 0; i < dim; i++) {
      double x = values.get(F32, at + 4L * i);
      sum += x * x;
    }
    return Math.sqrt(sum);
  }

  /** How many there are. */
  public long rows() {
    return rows;
  }

  /** Those whose norm is at least 2^k and less than 2^(k+1), by k. */
  public Map<Integer, Long> norms() {
    return norms;
  }

  /** Those of norm 0. */
  public long zero() {
    return zero;
  }

  /** Those that hold NaN or infinity. */
  public long nonfinite() {
    return nonfinite;
  }

  /** Those that have made at least 2^k steps and less than 2^(k+1), by k. */
  public Map<Integer, Long> steps() {
    return steps;
  }

  /** Those that have made none. */
  public long noSteps() {
    return noSteps;
  }

  /** Forgets them. */
  public void clear() {
    rows = 0;
    zero = 0;
    nonfinite = 0;
    noSteps = 0;
    norms.clear();
    steps.clear();
  }

  @Override
  public void close() {
    OffHeap.free(weights);
  }
}
