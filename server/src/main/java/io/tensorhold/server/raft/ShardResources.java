package io.tensorhold.server.raft;

import io.tensorhold.server.store.SharedRocks;
import java.util.concurrent.Executor;
import java.util.function.Supplier;

/** What all shards of a server share, and each one's part of it. */
record ShardResources(
    SharedRocks rocks,
    long memoryBudget,
    FlushRule flushes,
    Executor flusher,
    Executor comparer,
    ReplicaFetches fetches,
    Supplier<ShardPayloads> payloads) {

  /** Whether a shard's blocks are flushed after so much log; see {@link RaftSettings#flushDue}. */
  interface FlushRule {
    boolean due(long logBytes, long dirtyBytes);
  }
}
