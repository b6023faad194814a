package io.tensorhold.client;

import io.tensorhold.proto.v1.BlockHeader;
import java.lang.foreign.MemorySegment;

/** Takes pulled blocks, one at a time, each once. */
@FunctionalInterface
public interface BlockSink {
  /** Takes a block; the payload is valid during the call only. */
  void accept(BlockHeader header, MemorySegment payload);
}
