package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * A tensor whose elements lie in a file with strides, such as a transposed one, read row-major.
 *
 * <p>What is asked for is cut into boxes, at most two for each dimension and one more. A box is
 * read along the dimension whose elements lie closest in the file, a window at a time, and its
 * elements are put where they belong.
 */
final class StridedData implements TensorData {
  private static final int WINDOW_BYTES = 64 << 10;

  private final OpenFile file;
  private final long start;
  private final int width;
  private final long[] dims;
  private final long[] strides;

  /**
   * @param start where the first element is, in bytes
   * @param width bytes of an element
   * @param strides in elements, none negative
   */
  StridedData(OpenFile file, long start, int width, long[] dims, long[] strides) {
    this.file = file;
    this.start = start;
    this.width = width;
    this.dims = dims;
    this.strides = strides;
  }

  @Override
  public void read(long offset, ByteBuffer dst) throws IOException {
    int limit = dst.limit();
    long end = offset + dst.remaining();
    long first = offset / width;
    if (offset % width != 0 || end % width != 0) {
      // Half elements at the ends: read whole ones and take the part that was asked for.
      int skip = (int) (offset % width);
      long last = Math.ceilDiv(end, (long) width);
      ByteBuffer whole = ByteBuffer.allocate(Math.toIntExact((last - first) * width));
      readElements(first, last, whole, 0);
      dst.put(whole.position(skip).limit(skip + (int) (end - offset)));
      return;
    }
    readElements(first, end / width, dst, dst.position());
    dst.position(limit);
  }

  /** Reads the elements {@code [from, to)} to a place in {@code dst}. */
  private void readElements(long from, long to, ByteBuffer dst, int at) throws IOException {
    ByteBuffer window = ByteBuffer.allocate(WINDOW_BYTES);
    long[] inner = new long[dims.length + 1]; // elements that one step of a dimension skips
    inner[dims.length] = 1;
    for (int d = dims.length - 1; d >= 0; d--) {
      inner[d] = inner[d + 1] * dims[d];
    }
    long done = from;
    while (done < to) {
      // The largest box that begins here: whole inner dimensions, a run of the one outside them.
      int d = dims.length;
      while (d > 0 && done % inner[d - 1] == 0 && inner[d - 1] <= to - done) {
        d--;
      }
      long count = 1;
      if (d > 0) {
        long index = done / inner[d] % dims[d - 1];
        count = Math.min((to - done) / inner[d], dims[d - 1] - index);
      }
      long[] extent = new long[dims.length];
      Arrays.fill(extent, 1);
      System.arraycopy(dims, d, extent, d, dims.length - d);
      if (d > 0) {
        extent[d - 1] = count;
      }
      readBox(done, extent, inner, window, dst, at + (int) ((done - from) * width));
      done += count * inner[d];
    }
  }

  private void readBox(
      long first, long[] extent, long[] inner, ByteBuffer window, ByteBuffer dst, int at)
      throws IOException {
    long source = 0;
    for (int d = 0; d < dims.length; d++) {
      source += first / inner[d + 1] % dims[d] * strides[d];
    }
    int run = closest(extent);
    long[] counter = new long[dims.length];
    while (true) {
      long from = source;
      long to = 0;
      for (int d = 0; d < dims.length; d++) {
        from += counter[d] * strides[d];
        to += counter[d] * inner[d + 1];
      }
      if (run < 0) {
        copyRun(from, 1, 1, 1, window, dst, at + (int) (to * width));
      } else {
        copyRun(
            from, extent[run], strides[run], inner[run + 1], window, dst, at + (int) (to * width));
      }
      int d = dims.length - 1;
      while (d >= 0 && (d == run || ++counter[d] == extent[d])) {
        counter[d] = 0;
        d--;
      }
      if (d < 0) {
        return;
      }
    }
  }

  /** The dimension along which a box is read; −1 if it is one element. */
  private int closest(long[] extent) {
    int best = -1;
    for (int d = 0; d < extent.length; d++) {
      if (extent[d] > 1 && strides[d] > 0 && (best < 0 || strides[d] < strides[best])) {
        best = d;
      }
    }
    return best;
  }

  private void copyRun(
      long from, long count, long stride, long step, ByteBuffer window, ByteBuffer dst, int at)
      throws IOException {
    long perWindow = Math.max(1, (WINDOW_BYTES / width - 1) / stride + 1);
    for (long done = 0; done < count; done += perWindow) {
      long here = Math.min(perWindow, count - done);
      window.clear().limit((int) (((here - 1) * stride + 1) * width));
      file.read(start + (from + done * stride) * width, window);
      for (long i = 0; i < here; i++) {
        int target = at + (int) ((done + i) * step * width);
        dst.put(target, window, (int) (i * stride * width), width);
      }
    }
  }
}
