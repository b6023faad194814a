package io.tensorhold.client;

import io.grpc.CallOptions;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.tensorhold.proto.v1.PullRowsHeader;
import io.tensorhold.proto.v1.PullRowsRequest;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.RowsMethods;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * The pulls of rows from one server, over one stream at a time: any number in flight, answered by
 * their ids. When the stream breaks, what was not answered fails, and whoever asked asks again.
 */
final class RowPuller {
  private static final CallOptions CALL =
      CallOptions.DEFAULT.withExecutor(Runnable::run); // an answer is copied where it arrives

  private static final long SILENCE = ClusterConnection.SILENCE.toNanos();

  private final ClusterConnection cluster;
  private final String address;
  private final Map<Long, Pending> pending = new HashMap<>();
  private @Nullable ClientCallStreamObserver<PullRowsRequest> stream;
  private long lastId;
  private int generation;

  /** Takes the rows of an answer, which are valid for the call. */
  interface Sink {
    void accept(Frame<PullRowsHeader> answer);
  }

  private record Pending(Sink sink, long asked, long deadline, CompletableFuture<Void> done) {}

  RowPuller(ClusterConnection cluster, String address) {
    this.cluster = cluster;
    this.address = address;
  }

  /**
   * Sends a request; the future fails with a {@link TensorholdException}.
   *
   * @param deadline by the clock of {@link System#nanoTime}
   */
  CompletableFuture<Void> pull(PullRowsRequest.Builder request, long deadline, Sink sink) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    synchronized (this) {
      if (stream == null) {
        open(++generation);
      }
      ClientCallStreamObserver<PullRowsRequest> out = stream;
      if (out == null) {
        return CompletableFuture.failedFuture(
            new TensorholdException("UNAVAILABLE", "no stream to %s can begin".formatted(address)));
      }
      long id = ++lastId;
      pending.put(id, new Pending(sink, System.nanoTime(), deadline, done));
      try {
        out.onNext(request.setId(id).build());
      } catch (IllegalStateException streamEnded) {
        // Its observer hears of it.
      }
    }
    return done;
  }

  private void open(int mine) {
    ClientCalls.asyncBidiStreamingCall(
        cluster.channel(address).newCall(RowsMethods.PULL_ROWS, CALL),
        new ClientResponseObserver<PullRowsRequest, Frame<PullRowsHeader>>() {
          @Override
          public void beforeStart(ClientCallStreamObserver<PullRowsRequest> out) {
            stream = out;
          }

          @Override
          public void onNext(Frame<PullRowsHeader> answer) {
            try (answer) {
              answered(answer);
            }
          }

          @Override
          public void onError(Throwable error) {
            broken(mine, TensorholdException.of(error));
          }

          @Override
          public void onCompleted() {
            broken(mine, new TensorholdException("UNAVAILABLE", "the server ended the stream"));
          }
        });
  }

  private void answered(Frame<PullRowsHeader> answer) {
    Pending asked;
    synchronized (this) {
      asked = pending.remove(answer.header().getId());
    }
    if (asked == null) {
      return;
    }
    if (answer.header().hasError()) {
      asked.done.completeExceptionally(TensorholdException.of(answer.header().getError()));
      return;
    }
    try {
      asked.sink.accept(answer);
      asked.done.complete(null);
    } catch (RuntimeException e) {
      asked.done.completeExceptionally(e);
    }
  }

  /** Ends the pulls whose deadline has passed, and all from a server that leads nothing more. */
  void sweep() {
    List<Pending> expired = new ArrayList<>();
    long now = System.nanoTime();
    boolean silent;
    int current;
    synchronized (this) {
      pending.values().removeIf(asked -> asked.deadline - now < 0 && expired.add(asked));
      silent = pending.values().stream().anyMatch(asked -> now - asked.asked > SILENCE);
      current = generation;
    }
    if (silent) {
      cluster
          .executor()
          .execute(
              () -> {
                if (cluster.leadsNothing(address)) {
                  broken(current, ClusterConnection.leftBehind(address));
                }
              });
    }
    for (Pending asked : expired) {
      asked.done.completeExceptionally(
          new TensorholdException(
              "DEADLINE_EXCEEDED", "%s did not send rows of a table in time".formatted(address)));
    }
  }

  private void broken(int which, TensorholdException why) {
    List<Pending> failed;
    synchronized (this) {
      if (which != generation) {
        return;
      }
      if (stream != null) {
        stream.cancel("the stream is given up: " + why.getMessage(), null);
      }
      stream = null;
      failed = new ArrayList<>(pending.values());
      pending.clear();
    }
    failed.forEach(asked -> asked.done.completeExceptionally(why));
  }
}
