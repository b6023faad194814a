package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;

/** A tensor whose little-endian bytes lie in several pieces of a file, in order. */
record ChunkedData(OpenFile file, List<Chunk> chunks) implements TensorData {
  @Override
  public void read(long offset, ByteBuffer dst) throws IOException {
    int limit = dst.limit();
    long skip = offset;
    for (Chunk chunk : chunks) {
      long length = chunk.length();
      if (skip < length && dst.hasRemaining()) {
        int n = (int) Math.min(dst.remaining(), length - skip);
        file.read(chunk.start() + skip, dst.limit(dst.position() + n));
        dst.limit(limit);
      }
      skip = Math.max(0, skip - length);
    }
  }
}
