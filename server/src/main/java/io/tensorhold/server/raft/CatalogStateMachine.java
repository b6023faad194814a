package io.tensorhold.server.raft;

import com.google.protobuf.InvalidProtocolBufferException;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import io.tensorhold.server.catalog.log.CatalogSnapshot;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.concurrent.CompletableFuture;
import org.apache.ratis.proto.RaftProtos.LogEntryProto;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.SnapshotInfo;
import org.apache.ratis.statemachine.StateMachineStorage;
import org.apache.ratis.statemachine.TransactionContext;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.jspecify.annotations.Nullable;

/**
 * One replica of the catalog as Raft drives it. Its snapshot is one file, replaced atomically, in
 * {@code catalog/snapshot}; it is written after every {@value #SNAPSHOT_ENTRIES} entries.
 */
final class CatalogStateMachine extends FetchedStateMachine {
  private static final int SNAPSHOT_ENTRIES = 256;
  private static final String FILE = "snapshot";

  private final Path directory;
  private final ReplicaCopies copies;
  private final CatalogState state;
  private final Runnable cutLog;
  private final Runnable changed;
  private int entriesSinceSnapshot;
  private volatile @Nullable SnapshotInfo latest;

  CatalogStateMachine(
      Path directory,
      CatalogState state,
      ReplicaFetches fetches,
      Runnable cutLog,
      Runnable changed) {
    super(fetches);
    this.directory = directory;
    this.copies = new ReplicaCopies(directory.resolve("transfer"), this::copyTo, System::nanoTime);
    this.state = state;
    this.cutLog = cutLog;
    this.changed = changed;
  }

  @Override
  public void initialize(RaftServer server, RaftGroupId group, RaftStorage storage)
      throws IOException {
    super.initialize(server, group, storage);
    copies.clear();
    getLifeCycle().startAndTransition(this::reload);
  }

  private Path received() {
    return directory.resolve("received");
  }

  /** Takes a received snapshot, if it is newer: one rename. */
  private void adoptReceived() throws IOException {
    Path arrived = received().resolve(FILE);
    if (Files.exists(arrived)) {
      Path file = directory.resolve(FILE);
      if (!Files.exists(file) || indexOf(arrived) > indexOf(file)) {
        Files.move(arrived, file, StandardCopyOption.ATOMIC_MOVE);
        FileTrees.force(directory);
      }
    }
    FileTrees.delete(received());
  }

  private static long indexOf(Path file) throws IOException {
    return CatalogSnapshot.parseFrom(Files.readAllBytes(file)).getIndex();
  }

  @Override
  void reload() throws IOException {
    adoptReceived();
    Path file = directory.resolve(FILE);
    if (Files.exists(file)) {
      CatalogSnapshot snapshot = CatalogSnapshot.parseFrom(Files.readAllBytes(file));
      state.restore(snapshot);
      TermIndex at = TermIndex.valueOf(snapshot.getTerm(), snapshot.getIndex());
      setLastAppliedTermIndex(at);
      latest = new DatabaseSnapshot(at);
      changed.run();
    }
  }

  @Override
  public CompletableFuture<Message> applyTransaction(TransactionContext transaction) {
    LogEntryProto entry = transaction.getLogEntry();
    ByteString data = entry.getStateMachineLogEntry().getLogData();
    CatalogReply reply;
    try {
      reply =
          state.apply(
              entry.getTerm(),
              entry.getIndex(),
              CatalogCommand.parseFrom(data.asReadOnlyByteBuffer()));
    } catch (InvalidProtocolBufferException e) {
      throw new IllegalStateException(
          "entry %d of the catalog's log is damaged".formatted(entry.getIndex()), e);
    }
    updateLastAppliedTermIndex(entry.getTerm(), entry.getIndex());
    changed.run();
    if (++entriesSinceSnapshot >= SNAPSHOT_ENTRIES) {
      entriesSinceSnapshot = 0;
      cutLog.run();
    }
    return CompletableFuture.completedFuture(
        Message.valueOf(UnsafeByteOperations.unsafeWrap(reply.toByteArray())));
  }

  @Override
  public void notifyTermIndexUpdated(long term, long index) {
    super.notifyTermIndexUpdated(term, index);
    state.advance(term, index);
  }

  @Override
  public long takeSnapshot() throws IOException {
    copies.expire();
    return Math.min(save().getIndex(), copies.heldIndex());
  }

  private synchronized TermIndex save() throws IOException {
    CatalogSnapshot snapshot = state.snapshot();
    TermIndex at = TermIndex.valueOf(snapshot.getTerm(), snapshot.getIndex());
    if (snapshot.getIndex() >= 0) {
      Files.createDirectories(directory);
      Path fresh = directory.resolve(FILE + ".new");
      try (OutputStream out = Files.newOutputStream(fresh)) {
        snapshot.writeTo(out);
      }
      FileTrees.force(fresh);
      Files.move(fresh, directory.resolve(FILE), StandardCopyOption.ATOMIC_MOVE);
      FileTrees.force(directory);
      latest = new DatabaseSnapshot(at);
    }
    return at;
  }

  private synchronized TermIndex copyTo(Path folder) throws IOException {
    TermIndex at = save();
    if (at.getIndex() >= 0) {
      Files.createDirectory(folder);
      Files.createLink(folder.resolve(FILE), directory.resolve(FILE));
    }
    return at;
  }

  /** The copies that other servers fetch. */
  ReplicaCopies copies() {
    return copies;
  }

  @Override
  ReplicaFetches.Target target() {
    return new ReplicaFetches.Target(
        ReplicaCopy.CATALOG, directory.resolve("receiving"), received(), directory);
  }

  @Override
  public @Nullable SnapshotInfo getLatestSnapshot() {
    return latest;
  }

  @Override
  public StateMachineStorage getStateMachineStorage() {
    return new EmptyStorage(this::getLatestSnapshot);
  }
}
