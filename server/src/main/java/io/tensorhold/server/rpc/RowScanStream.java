package io.tensorhold.server.rpc;

import io.grpc.stub.ServerCallStreamObserver;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.RowSummary;
import io.tensorhold.proto.v1.ScanForm;
import io.tensorhold.proto.v1.ScanRowsHeader;
import io.tensorhold.proto.v1.ScanRowsRequest;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.RowScan;
import io.tensorhold.server.shard.RowSums;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Executor;
import java.util.concurrent.Semaphore;
import org.jspecify.annotations.Nullable;

/**
 * A walk over the rows of a table on one shard, sent as the client takes it: one message is made at
 * a time, when the transport has room for it.
 */
final class RowScanStream {
  private final ScanRowsRequest request;
  private final ShardLog log;
  private final ParameterRecord table;
  private final Codec codec;
  private final Errors errors;
  private final Traffic traffic;
  private final Executor executor;
  private final Semaphore room;
  private final ServerCallStreamObserver<Frame<ScanRowsHeader>> out;
  private final RowSums sums;
  private @Nullable ShardMachine replica;
  private @Nullable RowScan scan;
  private boolean running;
  private boolean ended;

  /**
   * A walk that begins with {@link #start}.
   *
   * @param room for walks at once; this one has taken a part of it, and gives it back
   */
  RowScanStream(
      ScanRowsRequest request,
      ShardLog log,
      ParameterRecord table,
      Codec codec,
      Errors errors,
      Traffic traffic,
      Executor executor,
      Semaphore room,
      ServerCallStreamObserver<Frame<ScanRowsHeader>> out) {
    this.request = request;
    this.log = log;
    this.table = table;
    this.codec = codec;
    this.errors = errors;
    this.traffic = traffic;
    this.executor = executor;
    this.room = room;
    this.out = out;
    this.sums = new RowSums(table, Kernels.best());
  }

  void start() {
    out.setOnReadyThreshold(ChannelSettings.READY_BYTES);
    out.setOnCancelHandler(this::stop);
    out.setOnReadyHandler(this::wake);
    var _ =
        log.fence()
            .whenCompleteAsync(
                (sure, failure) -> {
                  if (failure != null) {
                    fail(failure);
                    return;
                  }
                  begin();
                },
                executor);
  }

  private void begin() {
    try {
      Leadership leadership = log.leadership();
      if (!leadership.leads()) {
        throw Trainer.notLeader(leadership);
      }
      ShardMachine machine = log.machine();
      machine.dropOverlay(leadership.term());
      if (request.hasAfter() && request.getAfter() == Long.MAX_VALUE) {
        complete();
        free();
        return;
      }
      long from = request.hasAfter() ? request.getAfter() + 1 : Long.MIN_VALUE;
      synchronized (this) {
        if (!ended) {
          replica = machine;
          scan = machine.rows().scan(table, from);
        }
      }
      wake();
    } catch (RuntimeException e) {
      fail(e);
    }
  }

  /** Has messages made if there is room for them, by one thread at a time. */
  private void wake() {
    synchronized (this) {
      if (running || ended || scan == null || !out.isReady()) {
        return;
      }
      running = true;
    }
    executor.execute(this::send);
  }

  private void send() {
    boolean more = true;
    try {
      while (more && out.isReady()) {
        synchronized (this) {
          more = !ended;
        }
        more = more && sendOne();
      }
    } catch (RuntimeException e) {
      fail(e);
    }
    boolean over;
    synchronized (this) {
      running = false;
      over = ended;
    }
    if (over) {
      free();
    } else {
      wake();
    }
  }

  /** Sends the next message; false: it was the last. */
  private boolean sendOne() {
    RowScan rows = Objects.requireNonNull(scan);
    if (!log.leadership().leads()) {
      throw Trainer.notLeader(log.leadership());
    }
    PullStream.unreplaced(Objects.requireNonNull(replica), log);
    int rowBytes = rowBytes();
    int most = Math.max(1, Math.min(Limits.SCAN_ROWS, Limits.SCAN_BYTES / Math.max(1, rowBytes)));
    MemorySegment values = OffHeap.allocate((long) (most + rows.most()) * rowBytes);
    ScanRowsHeader.Builder header =
        ScanRowsHeader.newBuilder().setCodecValue(codec.id()).setRowBytes(rowBytes);
    int taken = 0;
    int count = 1;
    sums.clear();
    try {
      while (taken < most && count > 0) {
        count = rows.next();
        for (int i = 0; i < count; i++) {
          write(rows, i, values, (long) (taken + i) * rowBytes);
          if (request.getForm() != ScanForm.SCAN_SUMMARY) {
            header.addKeys(rows.key(i));
          }
        }
        taken += count;
        if (count > 0) {
          header.setLast(rows.key(count - 1));
        }
      }
    } catch (RuntimeException e) {
      OffHeap.free(values);
      throw e;
    }
    if (taken == 0) {
      OffHeap.free(values);
    } else {
      answer(header, values, (long) taken * rowBytes);
    }
    if (count == 0) {
      complete();
    }
    return count > 0;
  }

  private void answer(ScanRowsHeader.Builder header, MemorySegment values, long bytes) {
    if (request.getForm() == ScanForm.SCAN_SUMMARY) {
      header.setSummary(
          RowSummary.newBuilder()
              .setRows(sums.rows())
              .putAllNorms(sums.norms())
              .setZero(sums.zero())
              .setNonfinite(sums.nonfinite())
              .putAllSteps(sums.steps())
              .setNoSteps(sums.noSteps()));
    }
    traffic.addPulled(bytes, false);
    List<MemorySegment> pieces = bytes == 0 ? List.of() : List.of(values.asSlice(0, bytes));
    try (Frame<ScanRowsHeader> frame =
        Frame.of(header.build(), pieces, () -> OffHeap.free(values))) {
      synchronized (this) {
        if (!ended) {
          out.onNext(frame);
        }
      }
    }
  }

  /** Bytes of a row in the answer. */
  private int rowBytes() {
    return switch (request.getForm()) {
      case SCAN_VALUES -> Math.toIntExact(codec.bytes(DType.F32, table.form().dim()));
      case SCAN_WHOLE -> RowScan.wholeBytes(table);
      default -> 0;
    };
  }

  private void write(RowScan rows, int i, MemorySegment values, long at) {
    switch (request.getForm()) {
      case SCAN_VALUES -> rows.weights(i, codec, values, at);
      case SCAN_WHOLE -> rows.whole(i, values, at);
      case SCAN_SUMMARY -> rows.sum(i, sums);
      default -> {}
    }
  }

  private void complete() {
    synchronized (this) {
      if (ended) {
        return;
      }
      ended = true;
      out.onCompleted();
    }
  }

  private void fail(Throwable failure) {
    boolean nobodySends;
    synchronized (this) {
      if (ended) {
        return;
      }
      ended = true;
      out.onError(errors.exception(failure));
      nobodySends = !running;
    }
    if (nobodySends) {
      free();
    }
  }

  /** The client is gone. */
  private void stop() {
    boolean nobodySends;
    synchronized (this) {
      if (ended) {
        return;
      }
      ended = true;
      nobodySends = !running;
    }
    if (nobodySends) {
      free();
    }
  }

  private void free() {
    RowScan walk;
    synchronized (this) {
      walk = scan;
      scan = null;
    }
    if (walk != null) {
      walk.close();
    }
    sums.close();
    room.release();
  }

  /** Refuses a walk that there is no room for. */
  static Refusal tooMany() {
    return new Refusal(
        Reason.LIMIT,
        "scans of tables at once on a server: limit=%d; try again later".formatted(Limits.SCANS),
        "limit-name",
        "scans",
        "limit",
        Limits.SCANS);
  }
}
