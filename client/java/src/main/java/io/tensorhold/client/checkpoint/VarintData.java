package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;

/**
 * A tensor whose elements a file keeps as varints, one an element, turned into fixed-width
 * little-endian bytes as they are read. A scan at opening checks every value and notes where each
 * 16,384th begins, so a later read starts near its place.
 */
final class VarintData implements TensorData {
  private static final int STRIDE = 1 << 14;
  private static final int WINDOW_BYTES = 8192;

  private final OpenFile file;
  private final int width;
  private final List<Chunk> chunks;
  private final long[] starts;

  private VarintData(OpenFile file, int width, List<Chunk> chunks, long[] starts) {
    this.file = file;
    this.width = width;
    this.chunks = chunks;
    this.starts = starts;
  }

  /**
   * Checks that the chunks hold exactly {@code elements} values of the type.
   *
   * @param width the bytes of one element
   * @param what the tensor, for errors
   */
  static VarintData scan(
      OpenFile file, OnnxType type, int width, List<Chunk> chunks, long elements, String what)
      throws IOException {
    ProtoReader reader = new ProtoReader(file, WINDOW_BYTES);
    long[] starts = new long[16];
    long n = 0;
    for (Chunk chunk : chunks) {
      for (long at = chunk.start(); at < chunk.end(); at = reader.after()) {
        long value = type.narrow(reader.varint(at, chunk.end(), what));
        if (!type.accepts(value)) {
          throw reader.bad(what, at, "element " + n + " is " + value + ", not one of " + type);
        }
        if (n % STRIDE == 0) {
          int slot = Math.toIntExact(n / STRIDE);
          starts = slot < starts.length ? starts : Arrays.copyOf(starts, 2 * starts.length);
          starts[slot] = at;
        }
        n++;
      }
    }
    if (n != elements) {
      throw new CheckpointException(
          file.path(), what + " has " + n + " elements, its dimensions need " + elements);
    }
    return new VarintData(file, width, List.copyOf(chunks), starts);
  }

  @Override
  public void read(long offset, ByteBuffer dst) throws IOException {
    if (!dst.hasRemaining()) {
      return;
    }
    ProtoReader reader = new ProtoReader(file, WINDOW_BYTES);
    long element = offset / width;
    long at = starts[Math.toIntExact(element / STRIDE)];
    int chunk = chunkOf(at);
    long skip = element % STRIDE;
    int skipBytes = (int) (offset % width);
    while (dst.hasRemaining()) {
      if (at == chunks.get(chunk).end()) {
        at = chunks.get(++chunk).start();
        continue;
      }
      long value = reader.varint(at, chunks.get(chunk).end(), "element");
      at = reader.after();
      if (skip > 0) {
        skip--;
        continue;
      }
      for (int i = skipBytes; i < width && dst.hasRemaining(); i++) {
        dst.put((byte) (value >>> (8 * i)));
      }
      skipBytes = 0;
    }
  }

  private int chunkOf(long at) {
    int low = 0;
    int high = chunks.size() - 1;
    while (low < high) {
      int middle = (low + high) >>> 1;
      if (at >= chunks.get(middle).end()) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
