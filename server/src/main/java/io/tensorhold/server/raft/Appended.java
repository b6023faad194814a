package io.tensorhold.server.raft;

import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;

/** An entry that is committed and applied: its index, and what the state machine answered. */
@SuppressWarnings("ArrayRecordComponent") // bytes of a reply, read once
public record Appended(long index, byte[] reply) {
  static Appended of(long index, ByteString reply) {
    return new Appended(index, reply.toByteArray());
  }
}
