package io.tensorhold.server.raft;

import io.tensorhold.server.base.HeldMemory;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import org.apache.ratis.proto.RaftProtos.LogEntryProto;
import org.apache.ratis.proto.RaftProtos.StateMachineLogEntryProto;
import org.apache.ratis.protocol.RaftClientRequest;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.statemachine.StateMachine;
import org.apache.ratis.statemachine.TransactionContext;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.jspecify.annotations.Nullable;

/**
 * The large entries of one shard as Ratis passes them by its own log: they go to a {@link
 * PayloadLog}, and a {@link PayloadReference} stands in their place.
 *
 * <p>Ratis writes a payload before the entry that refers to it. While an entry is not applied its
 * payload is held by the transaction; after that it is read from its segment, for a follower that
 * is behind or when a log is replayed.
 *
 * <p>What this server appends lies outside the heap, and its memory is given back once it is
 * applied here and written; it is read from under that only by who holds it.
 */
final class ShardPayloads implements StateMachine.DataApi, AutoCloseable {
  /** The folder of segments beside a group's Ratis log. */
  static final String FOLDER = "payloads";

  private final PayloadLog.Settings settings;
  private final boolean beside;
  private volatile @Nullable PayloadLog log;

  /**
   * The payloads of a shard.
   *
   * @param beside whether large entries are written beside the log; if not, only what is there
   *     already is read
   */
  ShardPayloads(PayloadLog.Settings settings, boolean beside) {
    this.settings = settings;
    this.beside = beside;
  }

  /** Opens the segments in a group's folder; does nothing if they are open. */
  void open(RaftServer server, RaftGroupId group, File groupFolder) throws IOException {
    if (log == null) {
      Path folder = groupFolder.toPath();
      log =
          PayloadLog.open(
              folder.resolve(FOLDER),
              settings,
              () -> logStart(server, group, folder.resolve("current")));
    }
  }

  /** First index that the log may be asked for: what Ratis knows, and what its files still say. */
  private static long logStart(RaftServer server, RaftGroupId group, Path segments) {
    try {
      return Math.min(
          server.getDivision(group).getRaftLog().getStartIndex(), LogFolders.firstIndex(segments));
    } catch (IOException e) {
      return 0;
    }
  }

  private PayloadLog log() {
    PayloadLog open = log;
    if (open == null) {
      throw new IllegalStateException("the payload log is not open");
    }
    return open;
  }

  /** The transaction of a request: a large entry is put beside the log. */
  TransactionContext start(StateMachine machine, RaftClientRequest request) {
    ByteString entry = request.getMessage().getContent();
    TransactionContext.Builder transaction =
        TransactionContext.newBuilder().setStateMachine(machine).setClientRequest(request);
    HeldMemory memory = request.getMessage() instanceof EntryMessage own ? own.memory() : null;
    if (beside && entry.size() >= PayloadReference.LEAST_BYTES) {
      transaction
          .setLogData(PayloadReference.to(entry).toByteString())
          .setStateMachineData(entry)
          .setStateMachineContext(memory);
    } else if (memory != null) {
      transaction.setLogData(copy(entry)); // Ratis keeps it as long as it likes
    }
    return transaction.build();
  }

  private static ByteString copy(ByteString bytes) {
    return UnsafeByteOperations.unsafeWrap(bytes.toByteArray());
  }

  /** What the payload of a transaction lies in; null: the heap. */
  private static @Nullable HeldMemory memory(@Nullable TransactionContext transaction) {
    return transaction != null && transaction.getStateMachineContext() instanceof HeldMemory memory
        ? memory
        : null;
  }

  /** The bytes of a committed entry, wherever they are. */
  ByteBuffer entryOf(TransactionContext transaction) {
    LogEntryProto entry = transaction.getLogEntry();
    StateMachineLogEntryProto body = entry.getStateMachineLogEntry();
    PayloadReference reference = PayloadReference.of(body.getLogData());
    ByteString bytes =
        reference == null
            ? body.getLogData()
            : present(body) ? payload(body) : readNow(entry, reference);
    return bytes.asReadOnlyByteBuffer();
  }

  private static boolean present(StateMachineLogEntryProto body) {
    return body.hasStateMachineEntry() && !payload(body).isEmpty();
  }

  private static ByteString payload(StateMachineLogEntryProto body) {
    return body.getStateMachineEntry().getStateMachineData();
  }

  private ByteString readNow(LogEntryProto entry, PayloadReference reference) {
    try {
      return log().read(entry.getTerm(), entry.getIndex(), reference);
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  private static PayloadReference reference(LogEntryProto entry) {
    PayloadReference reference = PayloadReference.of(entry.getStateMachineLogEntry().getLogData());
    if (reference == null) {
      throw new IllegalArgumentException(
          "log index %d has a payload and no reference to it".formatted(entry.getIndex()));
    }
    return reference;
  }

  @Override
  public CompletableFuture<ByteString> read(
      LogEntryProto entry, @Nullable TransactionContext transaction) {
    if (transaction != null && transaction.getLogEntry() != null) {
      StateMachineLogEntryProto body = transaction.getLogEntry().getStateMachineLogEntry();
      HeldMemory memory = memory(transaction);
      if (present(body) && (memory == null || memory.holdIfHeld())) {
        try {
          ByteString payload = payload(body);
          return CompletableFuture.completedFuture(memory == null ? payload : copy(payload));
        } finally {
          if (memory != null) {
            memory.release();
          }
        }
      }
    }
    try {
      return CompletableFuture.completedFuture(
          log().read(entry.getTerm(), entry.getIndex(), reference(entry)));
    } catch (IOException | RuntimeException e) {
      return CompletableFuture.failedFuture(e);
    }
  }

  @Override
  public CompletableFuture<?> write(LogEntryProto entry, @Nullable TransactionContext transaction) {
    return log()
        .write(
            entry.getTerm(),
            entry.getIndex(),
            reference(entry),
            payload(entry.getStateMachineLogEntry()),
            memory(transaction));
  }

  // flush: a write has ended only when it is as durable as the level says.
  // truncate: records are found by term and index, so that truncated ones are not found.

  @Override
  public void close() {
    PayloadLog closing = log;
    if (closing != null) {
      closing.close();
    }
  }
}
