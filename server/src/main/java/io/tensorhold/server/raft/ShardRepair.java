package io.tensorhold.server.raft;

import io.tensorhold.server.store.StoreException;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Mends replicas whose database is damaged, from another server's copy.
 *
 * <p>A damaged replica leaves its group's service at once: it hands leadership over, and its log is
 * held back ({@link LogFolders}). Its log and its votes are whole, so it stays the same member of
 * the group: when the copy has taken the database's place it goes on from there with its own log.
 * The copy holds the log at least up to where that one begins; any replica may give it, because
 * what is applied anywhere is committed.
 */
final class ShardRepair implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(ShardRepair.class);
  private static final long PERIOD_MILLIS = 500;
  private static final long HAND_OVER_MILLIS = 2000;

  private final RaftNode raft;
  private final LogFolders folders;
  private final Fsync fsync;
  private final List<ShardReplica> shards;
  private final ReplicaFetches fetches;
  private final BooleanSupplier catalogLoaded;
  private final IntFunction<List<String>> peersOf;
  private final Function<ShardReplica, ShardStateMachine> fresh;
  private final ScheduledExecutorService loop =
      Executors.newSingleThreadScheduledExecutor(
          Thread.ofPlatform().name("repair").daemon().factory());
  private String lastTrouble = "";

  /**
   * A repair of the shards.
   *
   * @param fsync level of the logs
   * @param catalogLoaded whether {@code peersOf} knows already
   * @param peersOf ids of the other servers that hold a shard
   * @param fresh a replica of the same shard, not opened yet
   */
  ShardRepair(
      RaftNode raft,
      LogFolders folders,
      Fsync fsync,
      List<ShardReplica> shards,
      ReplicaFetches fetches,
      BooleanSupplier catalogLoaded,
      IntFunction<List<String>> peersOf,
      Function<ShardReplica, ShardStateMachine> fresh) {
    this.raft = raft;
    this.folders = folders;
    this.fsync = fsync;
    this.shards = shards;
    this.fetches = fetches;
    this.catalogLoaded = catalogLoaded;
    this.peersOf = peersOf;
    this.fresh = fresh;
  }

  /** Opens the databases of a server that is about to start; holds back what can't be opened. */
  void inspect() throws IOException {
    for (ShardReplica shard : shards) {
      ShardStateMachine machine = shard.stateMachine();
      if (folders.held(shard.group())) {
        machine.declareDamaged("an earlier process of this server found it damaged");
      } else if (folders.exists(shard.group())) {
        try {
          inspect(machine, shard);
        } catch (StoreException e) {
          if (!e.damage()) {
            throw new IOException(e.getMessage(), e);
          }
          machine.declareDamaged(String.valueOf(e.getMessage()));
          folders.hold(shard.group());
        }
      }
    }
  }

  /** Opens a database and brings the log in line with it. */
  private void inspect(ShardStateMachine machine, ShardReplica shard) throws IOException {
    machine.inspect(folders.firstIndex(shard.group()));
    new PayloadCheck(folders.folder(shard.group()), fsync).run(machine.index());
    folders.dropCovered(shard.group(), machine.index());
  }

  /** Starts looking for damage. */
  void start() {
    var _ = loop.scheduleWithFixedDelay(this::look, 0, PERIOD_MILLIS, TimeUnit.MILLISECONDS);
  }

  private void look() {
    for (ShardReplica shard : shards) {
      try {
        shard.stateMachine().copies().expire();
        if (shard.stateMachine().damage() != null) {
          mend(shard);
        }
      } catch (IOException | RuntimeException e) {
        trouble("shard %d is not mended yet: %s".formatted(shard.shard(), e.getMessage()), e);
      }
    }
  }

  private void trouble(String text, @Nullable Exception e) {
    if (!text.equals(lastTrouble)) {
      log.warn(text, e);
      lastTrouble = text;
    }
  }

  private void mend(ShardReplica shard) throws IOException {
    if (!catalogLoaded.getAsBoolean()) {
      return;
    }
    List<String> peers = peersOf.apply(shard.shard());
    if (peers.isEmpty()) {
      trouble(
          ("shard %d has no other replica that it could be mended from: stop the server and restore"
                  + " its data directory from a backup, or begin with an empty one and load the"
                  + " models again")
              .formatted(shard.shard()),
          null);
      return;
    }
    leave(shard);
    fetch(shard, peers, Math.max(0, folders.firstIndex(shard.group()) - 1));
    shard.stateMachine().replaceDatabase();
    ShardStateMachine mended = fresh.apply(shard);
    try {
      inspect(mended, shard);
      folders.release(shard.group());
    } catch (IOException | RuntimeException e) {
      mended.close();
      throw e;
    }
    shard.replace(mended);
    try {
      raft.resume(shard.group());
    } catch (IOException e) {
      mended.declareDamaged("its log can't be taken up again: " + e.getMessage());
      throw e;
    }
    log.info("shard {} is mended", shard.shard());
  }

  private void leave(ShardReplica shard) throws IOException {
    if (!folders.held(shard.group())) {
      try {
        raft.handOver(shard.group(), HAND_OVER_MILLIS);
      } catch (IOException e) {
        log.info("shard {} leaves without a successor: {}", shard.shard(), e.getMessage());
      }
    }
    raft.suspend(shard.group());
    if (!folders.held(shard.group())) {
      folders.hold(shard.group());
    }
    shard.stateMachine().close();
  }

  private void fetch(ShardReplica shard, List<String> peers, long minIndex) throws IOException {
    IOException failure = new IOException("no other replica");
    for (String peer : peers) {
      try {
        fetches.fetch(shard.stateMachine().target(), peer, minIndex);
        return;
      } catch (IOException e) {
        failure = e;
      }
    }
    throw failure;
  }

  @Override
  public void close() {
    loop.shutdownNow();
    try {
      if (!loop.awaitTermination(10, TimeUnit.SECONDS)) {
        log.warn("a repair is still under way; the next start goes on with it");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
