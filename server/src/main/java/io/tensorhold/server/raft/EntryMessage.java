package io.tensorhold.server.raft;

import io.tensorhold.server.base.HeldMemory;
import io.tensorhold.server.shard.EntryBytes;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.jspecify.annotations.Nullable;

/**
 * An entry as this server's Raft is given it: its bytes without a copy, and what they lie in.
 *
 * @param memory null: the heap
 */
record EntryMessage(ByteString content, @Nullable HeldMemory memory) implements Message {
  EntryMessage(EntryBytes entry) {
    this(UnsafeByteOperations.unsafeWrap(entry.buffer()), entry.memory());
  }

  @Override
  public ByteString getContent() {
    return content;
  }

  @Override
  public String toString() { // it is written to logs, and must not read the bytes
    return "an entry of %d bytes".formatted(content.size());
  }
}
