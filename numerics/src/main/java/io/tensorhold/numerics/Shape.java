package io.tensorhold.numerics;

import java.util.Arrays;

/**
 * The immutable row-major dimensions of a tensor: at most 32, none negative; rank 0 is a scalar.
 */
public final class Shape {
  /** Most dimensions that a shape may have. */
  public static final int MAX_RANK = 32;

  private final long[] dims;
  private final long elements;

  private Shape(long[] dims, long elements) {
    this.dims = dims;
    this.elements = elements;
  }

  /**
   * The shape with these dimensions, outermost first.
   *
   * @throws IllegalArgumentException if there are more than {@value #MAX_RANK} dimensions, one is
   *     negative, or the number of elements does not fit a long
   */
  public static Shape of(long... dims) {
    if (dims.length > MAX_RANK) {
      throw new IllegalArgumentException(
          "too many dimensions: value=%d limit=%d".formatted(dims.length, MAX_RANK));
    }
    long[] own = dims.clone();
    return new Shape(own, count(own));
  }

  private static long count(long[] dims) {
    boolean empty = false;
    for (int d = 0; d < dims.length; d++) {
      if (dims[d] < 0) {
        throw new IllegalArgumentException(
            "dimension %d of %s is negative: value=%d limit>=0"
                .formatted(d, Arrays.toString(dims), dims[d]));
      }
      empty |= dims[d] == 0;
    }
    if (empty) {
      return 0; // before the product, so that the order of the dimensions does not matter
    }
    long product = 1;
    for (long dim : dims) {
      if (Math.multiplyHigh(product, dim) != 0 || product * dim < 0) {
        throw new IllegalArgumentException(
            "shape %s has too many elements: limit=%d"
                .formatted(Arrays.toString(dims), Long.MAX_VALUE));
      }
      product *= dim;
    }
    return product;
  }

  /** A copy of the dimensions, outermost first. */
  public long[] dims() {
    return dims.clone();
  }

  /** The number of dimensions. */
  public int rank() {
    return dims.length;
  }

  /** The extent of dimension {@code d}, counted from 0. */
  public long dim(int d) {
    return dims[d];
  }

  /** The number of elements: the product of the dimensions, 1 for rank 0. */
  public long elements() {
    return elements;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Shape that && Arrays.equals(dims, that.dims);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(dims);
  }

  /** The dimensions as in Python, {@code "[2, 3]"}; {@code "[]"} for a scalar. */
  @Override
  public String toString() {
    return Arrays.toString(dims);
  }
}
