package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * A checkpoint file being written, tensor after tensor. It appears under its name when {@link
 * #finish} has put it on disk whole; closed without, it leaves nothing behind.
 */
public interface CheckpointWriter extends AutoCloseable {
  /**
   * Writes what {@code data} has left into a tensor, from its first byte to its last.
   *
   * @param byteOffset where in the tensor
   * @throws IllegalArgumentException if there is no such tensor or it ends before the data does
   */
  void write(String tensor, long byteOffset, ByteBuffer data) throws IOException;

  /**
   * Puts the file on disk under its name, in place of what was there.
   *
   * @throws IllegalStateException if a byte of a tensor was never written; the file is then not
   *     there
   */
  void finish() throws IOException;

  @Override
  void close() throws IOException;
}
