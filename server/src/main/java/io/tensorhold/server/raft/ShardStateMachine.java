package io.tensorhold.server.raft;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.Flush;
import io.tensorhold.server.shard.Pressure;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.StoreException;
import io.tensorhold.server.store.StoreScan;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Predicate;
import org.apache.ratis.proto.RaftProtos.LogEntryProto;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.protocol.RaftClientRequest;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.protocol.RaftGroupMemberId;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.SnapshotInfo;
import org.apache.ratis.statemachine.StateMachineStorage;
import org.apache.ratis.statemachine.TransactionContext;
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
final class ShardStateMachine extends FetchedStateMachine {
  private static final Logger log = LoggerFactory.getLogger(ShardStateMachine.class);

  private final int shard;
  private final ShardResources resources;
  private final Runnable cutLog;
  private final Predicate<String> onDamage;
  private final ReentrantLock flushLock = new ReentrantLock();
  private final ShardFiles files;
  private final ReplicaCopies copies;
  private final StateChecksums checksums;
  private final ShardPayloads payloads;
  private final StateMachineStorage snapshots = new EmptyStorage(this::getLatestSnapshot);
  private volatile @Nullable ShardMachine machine;
  private volatile @Nullable String damage;
  private @Nullable ShardStore store;
  private final AtomicLong bytesSinceFlush = new AtomicLong();
  private volatile boolean flushQueued;

  /**
   * The replica that a directory holds, not opened yet.
   *
   * @param cutLog lets the log go up to what {@link #takeSnapshot} says
   * @param onDamage is told, once, what is wrong; answers whether another server will mend it
   */
  ShardStateMachine(
      int shard,
      Path directory,
      ShardResources resources,
      Runnable cutLog,
      Predicate<String> onDamage) {
    super(resources.fetches());
    this.shard = shard;
    this.files = new ShardFiles(directory);
    this.resources = resources;
    this.cutLog = cutLog;
    this.onDamage = onDamage;
    this.copies = new ReplicaCopies(files.transfer(), this::copyTo, System::nanoTime);
    this.checksums = new StateChecksums(shard, resources.comparer());
    this.payloads = resources.payloads().get();
  }

  @Override
  public void initialize(RaftServer server, RaftGroupId group, RaftStorage storage)
      throws IOException {
    super.initialize(server, group, storage);
    payloads.open(server, group, storage.getStorageDir().getRoot());
    getLifeCycle().startAndTransition(this::open);
  }

  private void open() throws IOException {
    if (store == null) {
      files.adoptReceived(resources.rocks());
      openStore();
    }
    ShardMachine loaded = open(machine);
    setLastAppliedTermIndex(
        loaded.appliedIndex() < 0
            ? TermIndex.INITIAL_VALUE
            : TermIndex.valueOf(loaded.appliedTerm(), loaded.appliedIndex()));
  }

  /** Opens the database; a damaged one is reported, and left closed. */
  private void openStore() {
    ShardStore opened = null;
    try {
      opened = new ShardStore(files.database(), files.staging(), resources.rocks(), this::damaged);
      machine = new ShardMachine(shard, opened, resources.memoryBudget(), Kernels.best());
      store = opened;
    } finally {
      if (store == null && opened != null) {
        opened.close();
      }
    }
  }

  /**
   * Opens the database ahead of its log, to see whether it can be.
   *
   * @param logStart first index that the log has; −1 if there is no log
   * @throws io.tensorhold.server.store.StoreException if it is damaged
   */
  void inspect(long logStart) throws IOException {
    copies.clear();
    files.adoptReceived(resources.rocks());
    openStore();
    long index = open(machine).appliedIndex();
    if (logStart > index + 1) {
      String fault =
          "the database in %s ends at index %d, the log begins at %d"
              .formatted(files.database(), index, logStart);
      closeStore();
      declareDamaged(fault);
      throw new StoreException(fault);
    }
  }

  /** Index up to which the database that was opened holds everything. */
  long index() {
    return open(machine).appliedIndex();
  }

  /** The store has met damage: if another replica mends it, this one serves no more. */
  private boolean damaged(String what) {
    boolean mended = onDamage.test(what);
    if (mended) {
      declareDamaged(what);
    } else {
      log.error("shard {} is damaged, and no other replica can mend it: {}", shard, what);
    }
    return mended;
  }

  /** Serves no more, because of what the text says. */
  void declareDamaged(String what) {
    if (damage == null) {
      damage = what;
      log.error("the replica of shard {} is damaged and serves no more: {}", shard, what);
    }
  }

  /** What is wrong with the database; null as long as nothing is known. */
  @Nullable String damage() {
    return damage;
  }

  @Override
  ReplicaFetches.Target target() {
    return new ReplicaFetches.Target(shard, files.receiving(), files.received(), files.database());
  }

  /** Puts a received copy in the place of the damaged database; the replica is closed. */
  void replaceDatabase() throws IOException {
    closeStore();
    files.discardDatabase();
    files.adoptReceived(resources.rocks());
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
    ByteBuffer data = payloads.entryOf(transaction);
    ShardMachine target = open(machine);
    if (target.pressure() == Pressure.NOW) {
      flushPatiently();
    }
    byte[] outcomes = target.apply(entry.getTerm(), entry.getIndex(), data);
    updateLastAppliedTermIndex(entry.getTerm(), entry.getIndex());
    bytesSinceFlush.addAndGet(data.remaining());
    if (Entry.compares(data)) {
      beginChecksum(entry.getIndex());
    }
    if (!flushQueued
        && (resources.flushes().due(bytesSinceFlush.get(), target.dirtyBytes())
            || target.pressure() != Pressure.NONE)) {
      flushQueued = true;
      resources.flusher().execute(this::flushInBackground);
    }
    return CompletableFuture.completedFuture(
        Message.valueOf(UnsafeByteOperations.unsafeWrap(outcomes)));
  }

  @Override
  public TransactionContext startTransaction(RaftClientRequest request) {
    return payloads.start(this, request);
  }

  @Override
  public DataApi data() {
    return payloads;
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
    log.info("shard {} is led by server {}", shard, leader);
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

  private void beginChecksum(long index) {
    try {
      checksums.begin(index, scan());
    } catch (RuntimeException e) {
      log.warn("shard {} has no checksum at index {}: {}", shard, index, e.getMessage());
    }
  }

  /** A walk over the state as it is now: it is flushed, and read from disk while pushes go on. */
  StoreScan scan() {
    flushLock.lock();
    try {
      flush();
      return Objects.requireNonNull(store).scan();
    } finally {
      flushLock.unlock();
    }
  }

  /** The checksums of the state at COMPARE entries. */
  StateChecksums checksums() {
    return checksums;
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
    return target == null ? -1 : Math.min(target.flushedIndex(), copies.heldIndex());
  }

  @Override
  public @Nullable SnapshotInfo getLatestSnapshot() {
    ShardMachine target = machine;
    if (target == null) {
      return null;
    }
    long index = target.flushedIndex();
    return index < 0 ? null : new DatabaseSnapshot(TermIndex.valueOf(target.flushedTerm(), index));
  }

  ReplicaCopies copies() {
    return copies;
  }

  /** Copies the state as it is now: everything is flushed, then linked. */
  private TermIndex copyTo(Path folder) {
    flushLock.lock();
    try {
      flush();
      ShardMachine target = open(machine);
      ShardStore source = store;
      if (source == null || damage != null) {
        throw new Refusal(
            Reason.UNAVAILABLE, "this server's replica of shard %d is not ready".formatted(shard));
      }
      source.checkpoint(folder);
      return TermIndex.valueOf(target.flushedTerm(), target.flushedIndex());
    } finally {
      flushLock.unlock();
    }
  }

  @Override
  void reload() throws IOException {
    closeStore();
    open();
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
    payloads.close();
    closeStore();
  }
}
