package io.tensorhold.server.raft;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.io.IOException;
import java.util.List;
import java.util.OptionalLong;
import org.apache.ratis.protocol.RaftGroupId;

/** This server's replicas, as other servers copy and compare them. */
public final class HeldReplicas {
  private final RaftNode raft;
  private final RaftGroupId catalogGroup;
  private final CatalogStateMachine catalog;
  private final List<ShardReplica> shards;

  HeldReplicas(
      RaftNode raft,
      RaftGroupId catalogGroup,
      CatalogStateMachine catalog,
      List<ShardReplica> shards) {
    this.raft = raft;
    this.catalogGroup = catalogGroup;
    this.catalog = catalog;
    this.shards = shards;
  }

  /**
   * Makes, or finds, a copy of a replica that holds the log at least up to an index.
   *
   * @param shard its number, or {@link ReplicaCopy#CATALOG}
   * @throws Refusal if this server holds no such replica, or can't copy it now
   */
  public ReplicaCopy openCopy(int shard, long minIndex, String begun) throws IOException {
    return copiesOf(shard).open(minIndex, begun);
  }

  /** Opens a file of a copy. */
  public CopyReader readCopy(int shard, String copy, String file, long offset) throws IOException {
    return copiesOf(shard).read(copy, file, offset);
  }

  /**
   * The checksum of a shard's replica at the index of a COMPARE entry; empty: it has none yet.
   *
   * @param agreed what most replicas have there, if known: one that has another mends itself
   * @throws Refusal if this server holds no such replica
   */
  public OptionalLong compare(int shard, long index, OptionalLong agreed) {
    return shardAt(shard).compare(index, agreed);
  }

  private ReplicaCopies copiesOf(int shard) {
    return shard == ReplicaCopy.CATALOG && raft.holds(catalogGroup)
        ? catalog.copies()
        : shardAt(shard).stateMachine().copies();
  }

  private ShardReplica shardAt(int shard) {
    if (shard < 0 || shard >= shards.size() || !raft.holds(shards.get(shard).group())) {
      throw new Refusal(
          Reason.UNAVAILABLE, "this server holds no replica of shard %d".formatted(shard));
    }
    return shards.get(shard);
  }
}
