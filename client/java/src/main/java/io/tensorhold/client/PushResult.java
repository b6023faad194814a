package io.tensorhold.client;

import io.tensorhold.proto.v1.PushResponse;

/**
 * What became of a push.
 *
 * @param pushes requests it was sent as
 * @param duplicates of those, how many had been applied before, by an earlier try
 * @param maxLogIndex highest index in a shard's log; 0 if it is in no log
 */
public record PushResult(int pushes, int duplicates, long maxLogIndex) {
  static final PushResult NOTHING = new PushResult(0, 0, 0);

  static PushResult of(PushResponse ack) {
    return new PushResult(1, ack.getDuplicate() ? 1 : 0, ack.getLogIndex());
  }

  PushResult plus(PushResult other) {
    return new PushResult(
        pushes + other.pushes,
        duplicates + other.duplicates,
        Math.max(maxLogIndex, other.maxLogIndex));
  }
}
