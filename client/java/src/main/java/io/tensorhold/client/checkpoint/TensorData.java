package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;

/** The bytes of one tensor, wherever a file keeps them; may be read by many threads at once. */
interface TensorData {
  /**
   * Fills {@code dst} from the byte {@code offset} of the tensor; the caller has checked bounds.
   */
  void read(long offset, ByteBuffer dst) throws IOException;

  /** Bytes that lie in a file as they are. */
  record Plain(OpenFile file, long start) implements TensorData {
    @Override
    public void read(long offset, ByteBuffer dst) throws IOException {
      file.read(start + offset, dst);
    }
  }

  /** No bytes: a tensor with a zero among its dimensions. */
  record Empty() implements TensorData {
    @Override
    public void read(long offset, ByteBuffer dst) {}
  }
}
