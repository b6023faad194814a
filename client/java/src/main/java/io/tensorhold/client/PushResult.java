package io.tensorhold.client;

import io.tensorhold.proto.v1.PushResponse;
import java.util.List;
import java.util.concurrent.CompletableFuture;

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

  /** All of several pushes; fails when one does, after all have ended. */
  static CompletableFuture<PushResult> all(List<CompletableFuture<PushResult>> pushes) {
    return CompletableFuture.allOf(pushes.toArray(CompletableFuture[]::new))
        .thenApply(
            done -> pushes.stream().map(CompletableFuture::join).reduce(NOTHING, PushResult::plus));
  }

  PushResult plus(PushResult other) {
    return new PushResult(
        pushes + other.pushes,
        duplicates + other.duplicates,
        Math.max(maxLogIndex, other.maxLogIndex));
  }
}
