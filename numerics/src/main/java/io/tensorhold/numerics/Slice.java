package io.tensorhold.numerics;

import java.util.Arrays;

/**
 * A hyper-rectangle of a tensor: in each dimension the indices {@code [start, stop)}.
 *
 * <p>The result keeps the tensor's rank: a single index makes a dimension of extent 1.
 */
public final class Slice {
  private final Shape source;
  private final long[] starts;
  private final Shape shape;

  private Slice(Shape source, long[] starts, Shape shape) {
    this.source = source;
    this.starts = starts;
    this.shape = shape;
  }

  /** Takes one contiguous run of a tensor's elements, in row-major order. */
  @FunctionalInterface
  public interface RunConsumer {
    /** Takes {@code count} elements, at least one, from the row-major index {@code first} on. */
    void accept(long first, long count);
  }

  /** The slice that is the whole tensor. */
  public static Slice all(Shape source) {
    return new Slice(source, new long[source.rank()], source);
  }

  /**
   * The slice of {@code source} from {@code starts} to before {@code stops}, one of each for every
   * dimension.
   *
   * @throws IllegalArgumentException if there are not as many as dimensions, or not {@code 0 <=
   *     start <= stop <= dim}
   */
  public static Slice of(Shape source, long[] starts, long[] stops) {
    int rank = source.rank();
    if (starts.length != rank || stops.length != rank) {
      throw new IllegalArgumentException(
          "a slice of shape %s needs %d starts and stops: value=%d and %d"
              .formatted(source, rank, starts.length, stops.length));
    }
    long[] extents = new long[rank];
    for (int d = 0; d < rank; d++) {
      if (starts[d] < 0 || stops[d] < starts[d] || stops[d] > source.dim(d)) {
        throw new IllegalArgumentException(
            "slice leaves dimension %d of shape %s: value=%d:%d limit=0:%d with start <= stop"
                .formatted(d, source, starts[d], stops[d], source.dim(d)));
      }
      extents[d] = stops[d] - starts[d];
    }
    return new Slice(source, starts.clone(), Shape.of(extents));
  }

  /**
   * The slice that a text such as {@code "0:10,:,3"} names: a range, {@code :} or one index per
   * dimension; negative indices count from the end, missing trailing dimensions are taken whole.
   *
   * <p>Unlike NumPy's, a bound past the end is an error, there are no steps, and a single index
   * keeps its dimension.
   *
   * @throws IllegalArgumentException if the text is not of this form or leaves the shape
   */
  public static Slice parse(String text, Shape source) {
    int rank = source.rank();
    long[] starts = new long[rank];
    long[] stops = source.dims();
    if (!text.isBlank()) {
      String[] parts = text.split(",", -1);
      if (parts.length > rank) {
        throw new IllegalArgumentException(
            "slice \"%s\" has too many dimensions for shape %s: value=%d limit=%d"
                .formatted(text, source, parts.length, rank));
      }
      for (int d = 0; d < parts.length; d++) {
        parsePart(parts[d].strip(), text, d, source.dim(d), starts, stops);
      }
    }
    return of(source, starts, stops);
  }

  private static void parsePart(
      String part, String text, int d, long dim, long[] starts, long[] stops) {
    int colon = part.indexOf(':');
    if (colon < 0) {
      starts[d] = index(part, text, d, dim);
      if (starts[d] < 0 || starts[d] >= dim) {
        throw new IllegalArgumentException(
            "index leaves dimension %d in slice \"%s\": value=%s limit=%d..%d"
                .formatted(d, text, part, -dim, dim - 1));
      }
      stops[d] = starts[d] + 1;
      return;
    }
    String start = part.substring(0, colon).strip();
    String stop = part.substring(colon + 1).strip();
    starts[d] = start.isEmpty() ? 0 : index(start, text, d, dim);
    stops[d] = stop.isEmpty() ? dim : index(stop, text, d, dim);
  }

  private static long index(String digits, String text, int d, long dim) {
    try {
      long value = Long.parseLong(digits);
      return value < 0 ? value + dim : value;
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(
          "dimension %d of slice \"%s\" is not an index, start:stop or \":\": value=\"%s\""
              .formatted(d, text, digits),
          e);
    }
  }

  /** The shape of the result; its rank is the tensor's. */
  public Shape shape() {
    return shape;
  }

  /** The shape of the tensor that this is a slice of. */
  public Shape source() {
    return source;
  }

  /** The first index in dimension {@code d}. */
  public long start(int d) {
    return starts[d];
  }

  /** The index after the last in dimension {@code d}. */
  public long stop(int d) {
    return starts[d] + shape.dim(d);
  }

  /** The number of elements of the result. */
  public long elements() {
    return shape.elements();
  }

  /**
   * Gives the slice as maximal contiguous runs of the tensor's row-major elements, in ascending
   * order; together they are the result in its own row-major order. An empty slice gives none.
   */
  public void forEachRun(RunConsumer consumer) {
    if (elements() == 0) {
      return;
    }
    // Trailing dimensions that are taken whole, and the one before them, are contiguous.
    int inner = source.rank();
    long unit = 1; // elements of the source under one index of dimension inner - 1
    while (inner > 0 && shape.dim(inner - 1) == source.dim(inner - 1)) {
      inner--;
      unit *= source.dim(inner);
    }
    long run = unit;
    long first = 0;
    if (inner > 0) {
      inner--;
      run = shape.dim(inner) * unit;
      first = starts[inner] * unit;
      unit *= source.dim(inner);
    }
    walk(inner, unit, first, run, consumer);
  }

  /** Visits every index of the dimensions before {@code outer}, whose last strides {@code unit}. */
  private void walk(int outer, long unit, long offset, long run, RunConsumer consumer) {
    long[] strides = new long[outer];
    long stride = unit;
    long first = offset;
    for (int d = outer - 1; d >= 0; d--) {
      strides[d] = stride;
      first += starts[d] * stride;
      stride *= source.dim(d);
    }
    long[] position = new long[outer];
    while (true) {
      consumer.accept(first, run);
      int d = outer - 1;
      while (d >= 0 && position[d] == shape.dim(d) - 1) {
        first -= position[d] * strides[d];
        position[d] = 0;
        d--;
      }
      if (d < 0) {
        return;
      }
      position[d]++;
      first += strides[d];
    }
  }

  /** The slice as {@link #parse} reads it, such as {@code "0:10,2:3"}. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder();
    for (int d = 0; d < starts.length; d++) {
      text.append(d == 0 ? "" : ",").append(starts[d]).append(':').append(stop(d));
    }
    return text.toString();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Slice that
        && source.equals(that.source)
        && Arrays.equals(starts, that.starts)
        && shape.equals(that.shape);
  }

  @Override
  public int hashCode() {
    return 31 * (31 * source.hashCode() + Arrays.hashCode(starts)) + shape.hashCode();
  }
}
