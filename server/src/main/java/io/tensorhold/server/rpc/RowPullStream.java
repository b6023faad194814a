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
import org.jspecify.annotations.Nullable;

/**
 * One stream of pulls of rows. It reads the next request while fewer than {@value #IN_FLIGHT} are
 * being answered and the client takes the answers; past that, HTTP/2's flow control stops it.
 */
final class RowPullStream implements StreamObserver<PullRowsRequest> {
  private static final int IN_FLIGHT = 16;

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
    boolean omitted = request.getUnseen() == Unseen.UNSEEN_OMITTED;
    long bytes = 0;
    int from = 0;
    for (int i = 0; i < replicas.size(); i++) {
      ShardRows part = request.getShards(i);
      int first = from;
      bytes +=
          PullStream.unreplaced(replicas.get(i), node.shard(part.getShard()))
              .rows()
              .read(
                  pull.table(),
                  pull.keys(),
                  from,
                  from + part.getCount(),
                  pull.codec(),
                  rows,
                  bytes,
                  omitted ? position -> header.addMissing(first + position) : null);
      from += part.getCount();
    }
    return bytes;
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
