package io.tensorhold.server.raft;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.shard.Flush;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;
import org.apache.ratis.proto.RaftProtos.LogEntryProto;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.protocol.RaftGroupMemberId;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.SnapshotInfo;
import org.apache.ratis.statemachine.StateMachineStorage;
import org.apache.ratis.statemachine.TransactionContext;
import org.apache.ratis.statemachine.impl.BaseStateMachine;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One replica of a shard as Raft drives it: entries in, flushes and snapshots out.
 *
 * <p>A snapshot in Raft's sense is the database as last flushed. A flush runs beside apply; only
 * when dirty blocks fill the memory tier does apply wait for it. After each flush the log is cut.
 */
final class ShardStateMachine extends BaseStateMachine {
  private static final Logger log = LoggerFactory.getLogger(ShardStateMachine.class);

  private final int shard;
  private final SharedRocks rocks;
  private final long memoryBudget;
  private final long flushLogBytes;
  private final Executor flusher;
  private final Runnable cutLog;
  private final ReentrantLock flushLock = new ReentrantLock();
  private final ShardFiles files;
  private final SnapshotStorage snapshots = new SnapshotStorage();
  private volatile @Nullable ShardMachine machine;
  private @Nullable ShardStore store;
  private final AtomicLong bytesSinceFlush = new AtomicLong();
  private volatile boolean flushQueued;

  ShardStateMachine(
      int shard,
      Path directory,
      SharedRocks rocks,
      long memoryBudget,
      long flushLogBytes,
      Executor flusher,
      Runnable cutLog) {
    this.shard = shard;
    this.files = new ShardFiles(directory);
    this.rocks = rocks;
    this.memoryBudget = memoryBudget;
    this.flushLogBytes = flushLogBytes;
    this.flusher = flusher;
    this.cutLog = cutLog;
  }

  @Override
  public void initialize(RaftServer server, RaftGroupId group, RaftStorage storage)
      throws IOException {
    super.initialize(server, group, storage);
    getLifeCycle().startAndTransition(this::open);
  }

  private void open() throws IOException {
    files.adoptReceived(rocks);
    ShardStore opened = new ShardStore(files.database(), files.staging(), rocks);
    ShardMachine loaded = new ShardMachine(shard, opened, memoryBudget, Kernels.best());
    store = opened;
    machine = loaded;
    setLastAppliedTermIndex(
        loaded.appliedIndex() < 0
            ? TermIndex.INITIAL_VALUE
            : TermIndex.valueOf(loaded.appliedTerm(), loaded.appliedIndex()));
  }

  private void closeStore() {
    flushLock.lock();
    try {
      ShardMachine closing = machine;
      machine = null;
      if (closing != null) {
        closing.close();
      }
      if (store != null) {
        store.close();
        store = null;
      }
    } finally {
      flushLock.unlock();
    }
  }

  /** The replica's state; null while it is being replaced by a leader's snapshot. */
  @Nullable ShardMachine machine() {
    return machine;
  }

  @Override
  public CompletableFuture<Message> applyTransaction(TransactionContext transaction) {
    LogEntryProto entry = transaction.getLogEntry();
    ByteString data = entry.getStateMachineLogEntry().getLogData();
    ShardMachine target = open(machine);
    if (target.pressure() == ShardMachine.Pressure.NOW) {
      flushPatiently();
    }
    byte[] outcomes = target.apply(entry.getTerm(), entry.getIndex(), data.asReadOnlyByteBuffer());
    updateLastAppliedTermIndex(entry.getTerm(), entry.getIndex());
    bytesSinceFlush.addAndGet(data.size());
    if (!flushQueued
        && (bytesSinceFlush.get() > flushLogBytes
            || target.pressure() != ShardMachine.Pressure.NONE)) {
      flushQueued = true;
      flusher.execute(this::flushInBackground);
    }
    return CompletableFuture.completedFuture(
        Message.valueOf(UnsafeByteOperations.unsafeWrap(outcomes)));
  }

  private static ShardMachine open(@Nullable ShardMachine machine) {
    if (machine == null) {
      throw new IllegalStateException("the shard is being replaced by its leader's snapshot");
    }
    return machine;
  }

  @Override
  public void notifyTermIndexUpdated(long term, long index) {
    super.notifyTermIndexUpdated(term, index);
    ShardMachine target = machine;
    if (target != null) {
      target.advance(term, index);
    }
  }

  @Override
  public void notifyLeaderChanged(RaftGroupMemberId group, RaftPeerId leader) {
    ShardMachine target = machine;
    if (target != null && !leader.equals(group.getPeerId())) {
      target.dropOverlay(-1);
    }
  }

  private void flushInBackground() {
    flushQueued = false;
    try {
      flush();
    } catch (RuntimeException e) {
      log.error("flush of shard {} failed; its blocks stay in memory", shard, e);
    }
  }

  /** Flushes while memory is full: there is nowhere to put the next entry until it succeeds. */
  private void flushPatiently() {
    for (int attempt = 1; ; attempt++) {
      try {
        flush();
        return;
      } catch (RuntimeException e) {
        log.error("flush of shard {} failed, memory is full, attempt {}", shard, attempt, e);
        java.util.concurrent.locks.LockSupport.parkNanos(500_000_000L);
        if (Thread.currentThread().isInterrupted()) {
          throw e;
        }
      }
    }
  }

  /** Brings the state as it is now to disk, and lets the log before it go. */
  void flush() {
    flushLock.lock();
    try {
      ShardMachine target = machine;
      Flush flush = target == null ? null : target.beginFlush();
      if (target == null || flush == null) {
        return;
      }
      bytesSinceFlush.set(0);
      boolean written = false;
      try {
        flush.run();
        written = true;
      } finally {
        target.endFlush(flush, written);
      }
    } finally {
      flushLock.unlock();
    }
    cutLog.run();
  }

  @Override
  public long takeSnapshot() {
    ShardMachine target = machine;
    return target == null ? -1 : target.flushedIndex();
  }

  @Override
  public @Nullable SnapshotInfo getLatestSnapshot() {
    ShardMachine target = machine;
    if (target == null) {
      return null;
    }
    long index = target.flushedIndex();
    return index < 0
        ? null
        : new DatabaseSnapshot(TermIndex.valueOf(target.flushedTerm(), index), this::export);
  }

  /** Copies the database, if it still is at this index, to where Raft sends files from. */
  private java.util.List<org.apache.ratis.server.storage.FileInfo> export(TermIndex at) {
    flushLock.lock();
    try {
      ShardMachine target = open(machine);
      ShardStore source = store;
      if (target.flushedIndex() != at.getIndex() || source == null) {
        throw new IllegalStateException(
            "the database is past index %d, at %d: a newer snapshot follows"
                .formatted(at.getIndex(), target.flushedIndex()));
      }
      return files.export(at.getIndex(), source);
    } finally {
      flushLock.unlock();
    }
  }

  @Override
  public void pause() {
    getLifeCycle().transition(org.apache.ratis.util.LifeCycle.State.PAUSING);
    getLifeCycle().transition(org.apache.ratis.util.LifeCycle.State.PAUSED);
  }

  @Override
  public void reinitialize() throws IOException {
    closeStore();
    open();
    if (getLifeCycleState() == org.apache.ratis.util.LifeCycle.State.PAUSED) {
      getLifeCycle().transition(org.apache.ratis.util.LifeCycle.State.STARTING);
      getLifeCycle().transition(org.apache.ratis.util.LifeCycle.State.RUNNING);
    }
  }

  @Override
  public CompletableFuture<Message> query(Message request) {
    return CompletableFuture.completedFuture(Message.EMPTY);
  }

  /** Bytes of the database on disk. */
  long storedBytes() {
    flushLock.lock();
    try {
      return store == null ? 0 : store.bytes();
    } finally {
      flushLock.unlock();
    }
  }

  @Override
  public StateMachineStorage getStateMachineStorage() {
    return snapshots;
  }

  @Override
  public void close() {
    closeStore();
  }

  /** Where Raft puts the files it receives. */
  private final class SnapshotStorage extends EmptyStorage {
    @Override
    public @Nullable SnapshotInfo getLatestSnapshot() {
      return ShardStateMachine.this.getLatestSnapshot();
    }

    @Override
    public java.io.File getSnapshotDir() {
      return files.transfer().toFile();
    }

    @Override
    public java.io.File getTmpDir() {
      return files.receiving().toFile();
    }
  }
}
