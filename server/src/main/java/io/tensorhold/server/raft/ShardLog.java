package io.tensorhold.server.raft;

import io.tensorhold.server.shard.EntryBytes;
import io.tensorhold.server.shard.ShardMachine;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** The replicated log of one shard, and this server's replica of its state. */
public interface ShardLog {
  /** Which shard. */
  int shard();

  /**
   * Appends an entry; the future ends when it is on a majority's disks and applied here, or fails
   * with a {@link io.tensorhold.server.base.Refusal}. After a failure the entry may still be
   * applied later: only a retry tells.
   *
   * @param entry at most {@link io.tensorhold.server.base.Limits#ENTRY_BYTES}; the log lets go of
   *     it
   */
  CompletableFuture<Appended> append(EntryBytes entry);

  /**
   * Ends once this server has applied what was acknowledged before, as a leader that is sure to
   * lead says: itself, or the one that it follows.
   */
  CompletableFuture<Void> fence();

  /**
   * Ends once this server is sure that its replica, leader's or follower's, holds all that was
   * acknowledged so long before the call; fails with REPLICA_STALE if it can't be sure.
   *
   * @return the replica; one that has taken its place since may be older
   */
  CompletableFuture<ShardMachine> within(Duration staleness);

  /** Ids of the servers that vote on the log, as this replica knows them; empty without one. */
  List<String> members();

  /**
   * The checksum of this replica's state as it is now, all of it read from disk; pushes and pulls
   * go on meanwhile.
   *
   * @throws io.tensorhold.server.base.Refusal if there is no replica
   * @throws io.tensorhold.server.store.StoreException if it can't be read or is damaged
   */
  Checksum checksum();

  /** What this server knows of comparisons of the replicas. */
  Comparison comparison();

  /** Who leads, as far as this server has heard. */
  Leadership leadership();

  /**
   * This server's replica.
   *
   * @throws io.tensorhold.server.base.Refusal if it has none, or it is being replaced
   */
  ShardMachine machine();
}
