package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;

/** Where the bytes of named tensors come from. */
@FunctionalInterface
public interface TensorSource {
  /**
   * Fills {@code dst} up to its limit with the bytes of one tensor.
   *
   * @param name the tensor
   * @param byteOffset where in the tensor's bytes to start
   * @param dst never reaches past the tensor's end
   */
  void read(String name, long byteOffset, ByteBuffer dst) throws IOException;
}
