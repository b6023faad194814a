package io.tensorhold.server.rpc;

import com.google.rpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.PullRowsHeader;
import io.tensorhold.proto.v1.PullRowsRequest;
import io.tensorhold.proto.v1.ShardRows;
import io.tensorhold.proto.v1.Unseen;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.rpc.RowRequests.CheckedPull;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * One stream of pulls of rows. It reads the next request while fewer than {@value #IN_FLIGHT} are
 * being answered and the client takes the answers; past that, HTTP/2's flow control stops it.
 */
final class RowPullStream implements StreamObserver<PullRowsRequest> {
  private static final int IN_FLIGHT = 16;

  /** So many rows are read sooner by one thread than by two. */
  private static final int ALONE_ROWS = 128;

  private final ClusterNode node;
  private final RowRequests requests;
  private final Errors errors;
  private final Traffic traffic;
  private final Executor executor;
  private final ServerCallStreamObserver<Frame<PullRowsHeader>> out;
  private int inFlight;
  private boolean asked;
  private boolean halfClosed;
  private boolean ended;

  RowPullStream(
      ClusterNode node,
      RowRequests requests,
      Errors errors,
      Traffic traffic,
      Executor executor,
      ServerCallStreamObserver<Frame<PullRowsHeader>> out) {
    this.node = node;
    this.requests = requests;
    this.errors = errors;
    this.traffic = traffic;
    this.executor = executor;
    this.out = out;
    out.disableAutoRequest();
    out.setOnReadyThreshold(ChannelSettings.READY_BYTES);
    out.setOnReadyHandler(this::readOn);
    out.setOnCancelHandler(this::end);
  }

  private synchronized void end() {
    ended = true;
  }

  /** Asks for the next request if there is room for its answer. */
  void readOn() {
    synchronized (this) {
      if (asked || ended || halfClosed || inFlight >= IN_FLIGHT || !out.isReady()) {
        return;
      }
      asked = true;
      out.request(1);
    }
  }

  @Override
  public void onNext(PullRowsRequest request) {
    synchronized (this) {
      asked = false;
      inFlight++;
    }
    try {
      CheckedPull pull = requests.check(request);
      List<ShardMachine> replicas = new ArrayList<>(request.getShardsCount());
      CompletableFuture<Void> fenced = fence(request, replicas);
      if (fenced.isDone() && !fenced.isCompletedExceptionally()) {
        answer(request, pull, replicas);
      } else {
        var _ =
            fenced.whenCompleteAsync(
                (done, failure) -> {
                  if (failure != null) {
                    refuse(request, failure);
                  } else {
                    answer(request, pull, replicas);
                  }
                },
                executor);
      }
    } catch (RuntimeException e) {
      refuse(request, e);
    }
    readOn();
  }

  /** Ends when the replicas of the shards, which it gives in their order, may answer. */
  private CompletableFuture<Void> fence(PullRowsRequest request, List<ShardMachine> replicas) {
    List<CompletableFuture<Void>> fences = new ArrayList<>(request.getShardsCount());
    for (ShardRows rows : request.getShardsList()) {
      ShardLog log = node.shard(rows.getShard());
      Leadership leadership = log.leadership();
      if (!leadership.leads()) {
        throw Trainer.notLeader(leadership);
      }
      ShardMachine replica = log.machine();
      replica.dropOverlay(leadership.term());
      replicas.add(replica);
      fences.add(log.fence());
    }
    return CompletableFuture.allOf(fences.toArray(CompletableFuture[]::new));
  }

  private void answer(PullRowsRequest request, CheckedPull pull, List<ShardMachine> replicas) {
    PullRowsHeader.Builder header =
        PullRowsHeader.newBuilder().setId(request.getId()).setCodecValue(pull.codec().id());
    MemorySegment rows = OffHeap.allocate(pull.keys().length * pull.rowBytes());
    try {
      long bytes = read(request, pull, replicas, rows, header);
      traffic.addPulled(bytes, false);
      List<MemorySegment> pieces = bytes == 0 ? List.of() : List.of(rows.asSlice(0, bytes));
      send(header.build(), pieces, () -> OffHeap.free(rows));
    } catch (RuntimeException e) {
      OffHeap.free(rows);
      refuse(request, e);
    }
  }

  private long read(
      PullRowsRequest request,
      CheckedPull pull,
      List<ShardMachine> replicas,
      MemorySegment rows,
      PullRowsHeader.Builder header) {
    if (request.getUnseen() == Unseen.UNSEEN_OMITTED) {
      return readWritten(request, pull, replicas, rows, header);
    }
    int half = replicas.size() / 2;
    int firstKeys = keys(request, 0, half);
    if (firstKeys < ALONE_ROWS) {
      readAll(request, pull, replicas, rows, 0, replicas.size(), 0);
    } else { // half of the shards for another thread: rows are waited for, from memory or disk
      CompletableFuture<Void> rest =
          CompletableFuture.runAsync(
              () -> readAll(request, pull, replicas, rows, half, replicas.size(), firstKeys),
              executor);
      try {
        readAll(request, pull, replicas, rows, 0, half, 0);
      } finally {
        rest.handle((done, failure) -> null).join(); // it writes to the rows until then
      }
      rest.join();
    }
    return pull.keys().length * pull.rowBytes();
  }

  private static int keys(PullRowsRequest request, int firstShard, int end) {
    int keys = 0;
    for (int i = firstShard; i < end; i++) {
      keys += request.getShards(i).getCount();
    }
    return keys;
  }

  /** Reads the rows of some shards, each to its place. */
  private void readAll(
      PullRowsRequest request,
      CheckedPull pull,
      List<ShardMachine> replicas,
      MemorySegment rows,
      int firstShard,
      int end,
      int firstKey) {
    int from = firstKey;
    for (int i = firstShard; i < end; i++) {
      from += read(request, pull, replicas, i, from, rows, from * pull.rowBytes(), null).keys;
    }
  }

  /** Reads the rows that were written alone, without gaps. */
  private long readWritten(
      PullRowsRequest request,
      CheckedPull pull,
      List<ShardMachine> replicas,
      MemorySegment rows,
      PullRowsHeader.Builder header) {
    long bytes = 0;
    int from = 0;
    for (int i = 0; i < replicas.size(); i++) {
      int first = from;
      IntConsumer unseen = position -> header.addMissing(first + position);
      Done done = read(request, pull, replicas, i, from, rows, bytes, unseen);
      bytes += done.bytes;
      from += done.keys;
    }
    return bytes;
  }

  private record Done(int keys, long bytes) {}

  private Done read(
      PullRowsRequest request,
      CheckedPull pull,
      List<ShardMachine> replicas,
      int i,
      int from,
      MemorySegment rows,
      long at,
      @Nullable IntConsumer unseen) {
    ShardRows part = request.getShards(i);
    int count = part.getCount();
    ShardMachine replica = PullStream.unreplaced(replicas.get(i), node.shard(part.getShard()));
    long bytes =
        replica
            .rows()
            .read(pull.table(), pull.keys(), from, from + count, pull.codec(), rows, at, unseen);
    return new Done(count, bytes);
  }

  private void refuse(PullRowsRequest request, Throwable failure) {
    Status status = errors.status(failure);
    send(
        PullRowsHeader.newBuilder().setId(request.getId()).setError(status).build(),
        List.of(),
        () -> {});
  }

  private void send(PullRowsHeader header, List<MemorySegment> pieces, Runnable release) {
    try (Frame<PullRowsHeader> frame = Frame.of(header, pieces, release)) {
      synchronized (this) {
        inFlight--;
        if (!ended) {
          out.onNext(frame);
        }
        completeIfOver();
      }
    }
    readOn();
  }

  private void completeIfOver() {
    if (halfClosed && inFlight == 0 && !ended) {
      ended = true;
      out.onCompleted();
    }
  }

  @Override
  public void onError(@Nullable Throwable gone) {
    end();
  }

  @Override
  public synchronized void onCompleted() {
    halfClosed = true;
    completeIfOver();
  }
}
