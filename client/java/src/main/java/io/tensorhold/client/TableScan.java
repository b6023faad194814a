package io.tensorhold.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.ClientCalls;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.RowSummary;
import io.tensorhold.proto.v1.ScanForm;
import io.tensorhold.proto.v1.ScanRowsHeader;
import io.tensorhold.proto.v1.ScanRowsRequest;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.RowsMethods;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;

/**
 * A walk over the rows of a table that were ever written: shard after shard, in each by rising key,
 * a few thousand rows at a time, whatever the size of the table.
 *
 * <p>What was acknowledged before it began is in it, what is written meanwhile may be; each row is
 * as it was at some moment of the walk. When a server dies it goes on with the next leader where it
 * was, and no row comes twice.
 */
public final class TableScan {
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final ClusterConnection cluster;
  private final Table table;

  TableScan(ClusterConnection cluster, Table table) {
    this.cluster = cluster;
    this.table = table;
  }

  /** Takes some rows. */
  public interface Values {
    /**
     * Takes them.
     *
     * @param values f32, row after row in the order of the keys
     * @return false: no more are wanted
     */
    boolean rows(long[] keys, float[] values);
  }

  /** Takes some rows as they are stored. */
  public interface Whole {
    /**
     * Takes them.
     *
     * @param rows as a push with RESTORE carries them, one after another: of each u32 steps, then
     *     weights and optimizer state. They are valid for the call
     */
    void rows(long[] keys, MemorySegment rows);
  }

  /** Gives the rows' values, until the sink has enough or there are no more. */
  public void values(Values sink) {
    run(
        ScanForm.SCAN_VALUES,
        Codec.F32,
        (keys, frame) -> {
          float[] values = new float[Math.multiplyExact(keys.length, table.dim())];
          MemorySegment.copy(frame.payload(), F32, 0, values, 0, values.length);
          return sink.rows(keys, values);
        });
  }

  /** Gives the rows with their optimizer state, as they are stored. */
  public void whole(Whole sink) {
    run(
        ScanForm.SCAN_WHOLE,
        table.codec(),
        (keys, frame) -> {
          sink.rows(keys, frame.payload());
          return true;
        });
  }

  /** How many rows there are, by the norm of their weights and by their steps. */
  public RowSummary summary() {
    RowSummary.Builder sum = RowSummary.newBuilder();
    run(
        ScanForm.SCAN_SUMMARY,
        table.codec(),
        (keys, frame) -> {
          add(sum, frame.header().getSummary());
          return true;
        });
    return sum.build();
  }

  private static void add(RowSummary.Builder sum, RowSummary more) {
    sum.setRows(sum.getRows() + more.getRows())
        .setZero(sum.getZero() + more.getZero())
        .setNonfinite(sum.getNonfinite() + more.getNonfinite())
        .setNoSteps(sum.getNoSteps() + more.getNoSteps());
    more.getNormsMap().forEach((k, n) -> sum.putNorms(k, sum.getNormsOrDefault(k, 0) + n));
    more.getStepsMap().forEach((k, n) -> sum.putSteps(k, sum.getStepsOrDefault(k, 0) + n));
  }

  /** Takes a message; false: no more are wanted. */
  private interface Messages {
    boolean accept(long[] keys, Frame<ScanRowsHeader> frame);
  }

  private void run(ScanForm form, Codec codec, Messages sink) {
    int shards = cluster.map().getShardCount();
    for (int shard = 0; shard < shards; shard++) {
      ScanRowsRequest.Builder request =
          ScanRowsRequest.newBuilder()
              .setModelId(table.model().id())
              .setTableId(table.id())
              .setShard(shard)
              .setForm(form)
              .setCodecValue(codec.id())
              .setCatalogIndex(table.model().model().getCatalogIndex())
              .setLoading(table.model().loading());
      if (!shard(request, sink)) {
        return;
      }
    }
  }

  /** One shard, by as many leaders as it takes; a message may take as long as the deadline says. */
  private boolean shard(ScanRowsRequest.Builder request, Messages sink) {
    Progress progress = new Progress();
    while (true) {
      progress.came = false;
      try {
        cluster.shardLeader(
            request.getShard(),
            channel -> {
              read(request, channel, sink, progress);
              return progress;
            });
        if (progress.failure != null) {
          throw progress.failure;
        }
        return progress.wanted;
      } catch (TensorholdException e) {
        if (!progress.came || !e.retryable()) {
          throw e;
        }
      }
    }
  }

  private static final class Progress {
    boolean came;
    boolean wanted = true;

    /** Of who takes the rows: it is not the server's, and nothing is tried again for it. */
    @Nullable RuntimeException failure;
  }

  private void read(
      ScanRowsRequest.Builder request, Channel channel, Messages sink, Progress progress) {
    BlockingClientCall<ScanRowsRequest, Frame<ScanRowsHeader>> call =
        ClientCalls.blockingV2ServerStreamingCall(
            channel, RowsMethods.SCAN_ROWS, CallOptions.DEFAULT, request.build());
    try {
      while (progress.wanted) {
        Frame<ScanRowsHeader> frame =
            call.read(cluster.options().deadline().toNanos(), TimeUnit.NANOSECONDS);
        if (frame == null) {
          return;
        }
        try (frame) {
          progress.came = true;
          request.setAfter(frame.header().getLast());
          progress.wanted = sink.accept(keys(frame.header()), frame);
        } catch (RuntimeException e) {
          progress.failure = e;
          progress.wanted = false;
        }
      }
    } catch (StatusException e) {
      throw TensorholdException.of(e);
    } catch (TimeoutException e) {
      throw new TensorholdException(
          "UNAVAILABLE", "shard %d did not go on with a scan".formatted(request.getShard()));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new TensorholdException("CANCELLED", "interrupted");
    } finally {
      call.cancel("the scan is over", null);
      discard(call);
    }
  }

  /** Gives back the memory of what arrived and was not read. */
  private static void discard(BlockingClientCall<?, Frame<ScanRowsHeader>> call) {
    try {
      for (Frame<ScanRowsHeader> left = call.read(); left != null; left = call.read()) {
        left.close();
      }
    } catch (StatusException over) {
      // It was cancelled.
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static long[] keys(ScanRowsHeader header) {
    long[] keys = new long[header.getKeysCount()];
    for (int i = 0; i < keys.length; i++) {
      keys[i] = header.getKeys(i);
    }
    return keys;
  }
}
