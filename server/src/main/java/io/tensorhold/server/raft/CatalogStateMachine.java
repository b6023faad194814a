package io.tensorhold.server.raft;

import com.google.protobuf.InvalidProtocolBufferException;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import io.tensorhold.server.catalog.log.CatalogSnapshot;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.CompletableFuture;
import org.apache.ratis.proto.RaftProtos.LogEntryProto;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.server.storage.FileInfo;
import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.SnapshotInfo;
import org.apache.ratis.statemachine.StateMachineStorage;
import org.apache.ratis.statemachine.TransactionContext;
import org.apache.ratis.statemachine.impl.BaseStateMachine;
import org.apache.ratis.statemachine.impl.SingleFileSnapshotInfo;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.apache.ratis.util.LifeCycle;
import org.apache.ratis.util.MD5FileUtil;
import org.jspecify.annotations.Nullable;

/**
 * One replica of the catalog as Raft drives it. Its snapshot is one file, replaced atomically, in
 * {@code catalog/snapshot}; it is written after every {@value #SNAPSHOT_ENTRIES} entries.
 */
final class CatalogStateMachine extends BaseStateMachine {
  private static final int SNAPSHOT_ENTRIES = 256;
  private static final String FILE = "snapshot";

  private final Path directory;
  private final CatalogState state;
  private final Runnable cutLog;
  private final Runnable changed;
  private int entriesSinceSnapshot;
  private volatile @Nullable SnapshotInfo latest;

  CatalogStateMachine(Path directory, CatalogState state, Runnable cutLog, Runnable changed) {
    this.directory = directory;
    this.state = state;
    this.cutLog = cutLog;
    this.changed = changed;
  }

  @Override
  public void initialize(RaftServer server, RaftGroupId group, RaftStorage storage)
      throws IOException {
    super.initialize(server, group, storage);
    getLifeCycle().startAndTransition(this::load);
  }

  private void load() throws IOException {
    Path file = directory.resolve(FILE);
    if (Files.exists(file)) {
      CatalogSnapshot snapshot = CatalogSnapshot.parseFrom(Files.readAllBytes(file));
      state.restore(snapshot);
      TermIndex at = TermIndex.valueOf(snapshot.getTerm(), snapshot.getIndex());
      setLastAppliedTermIndex(at);
      latest = info(file, at);
      changed.run();
    }
  }

  private static SnapshotInfo info(Path file, TermIndex at) throws IOException {
    return new SingleFileSnapshotInfo(
        new FileInfo(file.toAbsolutePath(), MD5FileUtil.computeMd5ForFile(file.toFile())), at);
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
    CatalogSnapshot snapshot = state.snapshot();
    if (snapshot.getIndex() < 0) {
      return -1;
    }
    Files.createDirectories(directory);
    Path fresh = directory.resolve(FILE + ".new");
    try (OutputStream out = Files.newOutputStream(fresh)) {
      snapshot.writeTo(out);
    }
    force(fresh);
    Path file = directory.resolve(FILE);
    Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE);
    force(directory);
    latest = info(file, TermIndex.valueOf(snapshot.getTerm(), snapshot.getIndex()));
    return snapshot.getIndex();
  }

  private static void force(Path path) throws IOException {
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      channel.force(true);
    }
  }

  @Override
  public @Nullable SnapshotInfo getLatestSnapshot() {
    return latest;
  }

  @Override
  public void pause() {
    getLifeCycle().transition(LifeCycle.State.PAUSING);
    getLifeCycle().transition(LifeCycle.State.PAUSED);
  }

  @Override
  public void reinitialize() throws IOException {
    load();
    if (getLifeCycleState() == LifeCycle.State.PAUSED) {
      getLifeCycle().transition(LifeCycle.State.STARTING);
      getLifeCycle().transition(LifeCycle.State.RUNNING);
    }
  }

  @Override
  public CompletableFuture<Message> query(Message request) {
    return CompletableFuture.completedFuture(Message.EMPTY);
  }

  @Override
  public StateMachineStorage getStateMachineStorage() {
    return new EmptyStorage() {
      @Override
      public @Nullable SnapshotInfo getLatestSnapshot() {
        return latest;
      }

      @Override
      public File getSnapshotDir() {
        return directory.toFile();
      }

      @Override
      public File getTmpDir() {
        return directory.resolveSibling("catalog.receiving").toFile();
      }
    };
  }
}
