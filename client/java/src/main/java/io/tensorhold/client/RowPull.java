package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.PullRowsHeader;
import io.tensorhold.proto.v1.PullRowsRequest;
import io.tensorhold.proto.v1.ShardRows;
import io.tensorhold.proto.v1.Unseen;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.jspecify.annotations.Nullable;

/** One pull of rows: split by server, scattered to the caller's order, repeated where it failed. */
final class RowPull {
  /** Bytes of the rows that one request asks for. */
  private static final long REQUEST_BYTES = 1 << 20;

  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final ClusterConnection cluster;
  private final Table table;
  private final RowBatch batch;
  private final float[] target;
  private final @Nullable BitSet unseen;
  private final long deadline;

  /** Keys of the batch, from one up to another, of which all shards have one leader. */
  private record Run(String address, List<ShardRows> shards, int from, int to) {}

  /**
   * A pull into {@code target}.
   *
   * @param unseen takes the caller's positions of rows that were never written, whose values are
   *     not touched; null: they are pulled as the initializer says
   */
  RowPull(
      ClusterConnection cluster,
      Table table,
      long[] keys,
      float[] target,
      @Nullable BitSet unseen) {
    RowBatch.requireValues(table, keys, target);
    this.cluster = cluster;
    this.table = table;
    this.batch = new RowBatch(table, keys, cluster.map().getShardCount());
    this.target = target;
    this.unseen = unseen;
    this.deadline = cluster.deadlineNanos();
  }

  CompletableFuture<Void> run() {
    return pull(0, batch.count, 0);
  }

  private CompletableFuture<Void> pull(int from, int to, int attempt) {
    List<CompletableFuture<Void>> answers = new ArrayList<>();
    for (Run run : runs(from, to)) {
      answers.add(
          pull(run)
              .exceptionallyComposeAsync(
                  failure -> again(run, attempt, failure), cluster.executor()));
    }
    return answers.size() == 1
        ? answers.getFirst()
        : CompletableFuture.allOf(answers.toArray(CompletableFuture[]::new));
  }

  private CompletableFuture<Void> pull(Run run) {
    if (run.address.isEmpty()) {
      return CompletableFuture.failedFuture(
          new TensorholdException(
              "UNAVAILABLE",
              "shard %d has no leader now".formatted(run.shards.getFirst().getShard())));
    }
    PullRowsRequest.Builder request =
        PullRowsRequest.newBuilder()
            .setModelId(table.model().id())
            .setTableId(table.id())
            .setCodecValue(Codec.F32.id())
            .setUnseen(unseen == null ? Unseen.UNSEEN_INITIAL : Unseen.UNSEEN_OMITTED)
            .setCatalogIndex(table.model().model().getCatalogIndex())
            .setLoading(table.model().loading())
            .addAllShards(run.shards);
    for (int i = run.from; i < run.to; i++) {
      request.addKeys(batch.keys[i]);
    }
    return cluster.rows(run.address).pull(request, deadline, answer -> take(run, answer));
  }

  private CompletableFuture<Void> again(Run run, int attempt, Throwable failure) {
    Throwable cause =
        failure instanceof CompletionException && failure.getCause() != null
            ? failure.getCause()
            : failure;
    TensorholdException why = TensorholdException.of(cause);
    if (!why.retryable() || !cluster.pause(attempt, deadline)) {
      return CompletableFuture.failedFuture(why);
    }
    cluster.refresh(deadline);
    return pull(run.from, run.to, attempt + 1);
  }

  /** Keys of the batch by server, in requests of a size. */
  private List<Run> runs(int from, int to) {
    ClusterMap map = cluster.map();
    int most = Math.clamp(REQUEST_BYTES / table.rowBytes(Codec.F32), 1, RowBatch.MESSAGE_ROWS);
    List<Run> runs = new ArrayList<>();
    String address = null;
    List<ShardRows> shards = new ArrayList<>();
    int runStart = from;
    int at = from;
    for (int shard = 0; shard < batch.shards(); shard++) {
      int end = Math.min(to, batch.shardStarts[shard + 1]);
      while (at < end) {
        String leader = ClusterConnection.address(map, map.getShards(shard).getLeader());
        String own = leader == null ? "" : leader;
        if (at > runStart && (!own.equals(address) || at - runStart >= most)) {
          runs.add(new Run(String.valueOf(address), shards, runStart, at));
          shards = new ArrayList<>();
          runStart = at;
        }
        address = own;
        int next = Math.min(end, runStart + most);
        shards.add(ShardRows.newBuilder().setShard(shard).setCount(next - at).build());
        at = next;
      }
    }
    if (at > runStart) {
      runs.add(new Run(String.valueOf(address), shards, runStart, at));
    }
    return runs;
  }

  private void take(Run run, Frame<PullRowsHeader> answer) {
    int dim = table.dim();
    PullRowsHeader header = answer.header();
    long rows = (long) run.to - run.from - header.getMissingCount();
    if (answer.payloadBytes() != rows * 4 * dim) {
      throw new TensorholdException(
          "PAYLOAD_LENGTH",
          "%d rows of %s came with %d bytes instead of %d"
              .formatted(rows, table.name(), answer.payloadBytes(), rows * 4 * dim));
    }
    MemorySegment values = answer.payload();
    int missing = 0;
    long at = 0;
    for (int i = run.from; i < run.to; i++) {
      boolean absent =
          missing < header.getMissingCount() && header.getMissing(missing) == i - run.from;
      missing += absent ? 1 : 0;
      for (int p = batch.starts[i]; p < batch.starts[i + 1]; p++) {
        int position = batch.positions[p];
        if (absent) {
          note(position);
        } else {
          MemorySegment.copy(values, F32, at, target, position * dim, dim);
        }
      }
      at += absent ? 0 : 4L * dim;
    }
  }

  private void note(int position) {
    BitSet positions = java.util.Objects.requireNonNull(unseen);
    synchronized (positions) {
      positions.set(position);
    }
  }
}
