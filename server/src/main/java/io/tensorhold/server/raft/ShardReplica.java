package io.tensorhold.server.raft;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.EntryBytes;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.StoreScan;
import java.time.Duration;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.ratis.protocol.RaftGroupId;

/** A shard's log, and this server's replica of it, which a mended one may take the place of. */
final class ShardReplica implements ShardLog {
  private static final Leadership FAILED = new Leadership(false, null, 0, "failed");

  private final RaftNode raft;
  private final int shard;
  private final RaftGroupId group;
  private final Freshness<ShardMachine> freshness;
  private final AtomicLong refetched = new AtomicLong();
  private volatile ShardStateMachine stateMachine;
  private volatile long comparedIndex = -1;
  private volatile String difference = "";

  ShardReplica(RaftNode raft, int shard, RaftGroupId group, ShardStateMachine stateMachine) {
    this.raft = raft;
    this.shard = shard;
    this.group = group;
    this.stateMachine = stateMachine;
    this.freshness = new Freshness<>(this::machine, this::fence, System::nanoTime);
  }

  RaftGroupId group() {
    return group;
  }

  ShardStateMachine stateMachine() {
    return stateMachine;
  }

  void replace(ShardStateMachine mended) {
    stateMachine = mended;
  }

  /**
   * The checksum of the replica at the index of a COMPARE entry; empty: it has none yet.
   *
   * @param agreed what most replicas have there, if known: a replica that has another is damaged
   */
  OptionalLong compare(long index, OptionalLong agreed) {
    ShardStateMachine machine = stateMachine;
    OptionalLong own = machine.checksums().at(index);
    if (own.isPresent() && agreed.isPresent() && !own.equals(agreed) && machine.damage() == null) {
      refetched.incrementAndGet();
      machine.declareDamaged(
          "at index %d its checksum is %016x, and that of most replicas %016x"
              .formatted(index, own.getAsLong(), agreed.getAsLong()));
    }
    return own;
  }

  /** Notes what came of a comparison that this server made; see {@link Comparison}. */
  void compared(long index, String difference) {
    comparedIndex = index;
    this.difference = difference;
  }

  @Override
  public Checksum checksum() {
    machine(); // refuses what is damaged or not there
    try (StoreScan scan = stateMachine.scan()) {
      return StateChecksums.of(scan);
    }
  }

  @Override
  public Comparison comparison() {
    return new Comparison(comparedIndex, difference, refetched.get());
  }

  @Override
  public int shard() {
    return shard;
  }

  @Override
  public CompletableFuture<Appended> append(EntryBytes entry) {
    // One that failed may still be on its way to the log: the collector sees when it is not.
    return raft.append(group, new EntryMessage(entry), this::leadership)
        .whenComplete(
            (applied, failure) -> {
              if (failure == null) {
                entry.release();
              }
            });
  }

  @Override
  public CompletableFuture<Void> fence() {
    return raft.fence(group, this::leadership);
  }

  @Override
  public CompletableFuture<ShardMachine> within(Duration staleness) {
    return freshness.within(staleness);
  }

  @Override
  public Leadership leadership() {
    return stateMachine.damage() == null ? raft.leadership(group) : FAILED;
  }

  @Override
  public List<String> members() {
    return raft.membersIfHeld(group);
  }

  @Override
  public ShardMachine machine() {
    String damage = stateMachine.damage();
    if (damage != null) {
      throw new Refusal(
          Reason.UNAVAILABLE,
          "this server's replica of shard %d is damaged and is not served: %s"
              .formatted(shard, damage));
    }
    ShardMachine now = stateMachine.machine();
    if (now == null) {
      throw new Refusal(
          Reason.UNAVAILABLE, "this server's replica of shard %d is not ready".formatted(shard));
    }
    return now;
  }
}
