package io.tensorhold.client;

import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.wire.BlocksMethods;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.RowsMethods;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The pushes of one session to one shard, in order, over one stream at a time.
 *
 * <p>What is not acknowledged is kept. When the stream breaks, or the server says that it does not
 * lead, all of it is sent again to the leader, in the order and with the numbers it had: the shard
 * knows which of it was applied. An answer that arrives late is as good as a new one; an error that
 * arrives late is not believed, since the push is under way again.
 */
final class PushLane<H extends Message> {
  /** Which method pushes go by. */
  enum Method {
    PUSH,
    PUSH_PULL,
    PUSH_ROWS
  }

  private static final CallOptions CALL =
      CallOptions.DEFAULT.withOnReadyThreshold(ChannelSettings.READY_BYTES);

  private final ClusterConnection cluster;
  private final int shard;
  private final Method method;
  private final LongSupplier ackedBelow;
  private final TreeMap<Long, PendingPush<H>> unacked = new TreeMap<>();
  private long sentUpTo;
  private int generation;
  private @Nullable ClientCallStreamObserver<Frame<H>> stream;
  private boolean connecting;
  private boolean sending;
  private int attempt;
  private @Nullable String leader;

  /** When a push last began to wait or was answered. */
  private long movedAt;

  private boolean closed;

  PushLane(ClusterConnection cluster, int shard, Method method, LongSupplier ackedBelow) {
    this.cluster = cluster;
    this.shard = shard;
    this.method = method;
    this.ackedBelow = ackedBelow;
  }

  void push(PendingPush<H> push) {
    synchronized (this) {
      if (closed) {
        throw new TensorholdException("CANCELLED", "the session is closed");
      }
      if (unacked.isEmpty()) {
        movedAt = System.nanoTime();
      }
      unacked.put(push.seq(), push);
    }
    send();
  }

  /** Sends what the transport takes now; one thread at a time, so that the order holds. */
  private void send() {
    while (true) {
      PendingPush<H> next;
      ClientCallStreamObserver<Frame<H>> out;
      synchronized (this) {
        if (sending || connecting || closed) {
          return;
        }
        out = stream;
        if (out == null) {
          connecting = true;
          cluster.executor().execute(this::connect);
          return;
        }
        var entry = unacked.higherEntry(sentUpTo);
        if (entry == null || !out.isReady()) {
          return;
        }
        next = entry.getValue();
        sentUpTo = entry.getKey();
        sending = true;
      }
      try {
        out.onNext(next.frame().apply(ackedBelow.getAsLong()));
      } catch (IllegalStateException streamEnded) {
        // Its observer hears of it and connects again.
      } finally {
        synchronized (this) {
          sending = false;
        }
      }
    }
  }

  private void connect() {
    String address = null;
    try {
      long deadline = cluster.deadlineNanos();
      if (attempt > 0) {
        cluster.pause(attempt - 1, deadline);
        cluster.refresh(deadline);
      }
      attempt++;
      address = cluster.leader(shard);
    } catch (TensorholdException e) {
      failExpired(e);
    }
    synchronized (this) {
      connecting = false;
      if (closed || unacked.isEmpty()) {
        return;
      }
      if (address == null) {
        connecting = true;
        cluster.executor().execute(this::connect);
        return;
      }
      generation++;
      sentUpTo = 0;
      leader = address;
      movedAt = System.nanoTime();
      open(address, generation);
    }
    send();
  }

  @SuppressWarnings("unchecked") // the method's header is the lane's
  private void open(String address, int mine) {
    if (method == Method.PUSH_PULL) {
      ClientCalls.asyncBidiStreamingCall(
          (ClientCall<Frame<H>, Frame<PushPullHeader>>)
              (ClientCall<?, ?>) cluster.channel(address).newCall(BlocksMethods.PUSH_PULL, CALL),
          new Answers<Frame<PushPullHeader>>(mine) {
            @Override
            public void onNext(Frame<PushPullHeader> frame) {
              try (frame) {
                answered(mine, frame.header().getAck(), frame);
              }
            }
          });
      return;
    }
    MethodDescriptor<?, PushResponse> plain =
        method == Method.PUSH ? BlocksMethods.PUSH : RowsMethods.PUSH_ROWS;
    ClientCalls.asyncBidiStreamingCall(
        (ClientCall<Frame<H>, PushResponse>)
            (ClientCall<?, ?>) cluster.channel(address).newCall(plain, CALL),
        new Answers<PushResponse>(mine) {
          @Override
          public void onNext(PushResponse ack) {
            answered(mine, ack, null);
          }
        });
  }

  private abstract class Answers<R> implements ClientResponseObserver<Frame<H>, R> {
    private final int mine;

    Answers(int mine) {
      this.mine = mine;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<Frame<H>> out) {
      stream = out;
      out.setOnReadyHandler(PushLane.this::send);
    }

    @Override
    public void onError(Throwable error) {
      broken(mine, TensorholdException.of(error));
    }

    @Override
    public void onCompleted() {
      broken(mine, new TensorholdException("UNAVAILABLE", "the server ended the stream"));
    }
  }

  private void answered(int from, PushResponse ack, @Nullable Frame<PushPullHeader> frame) {
    PendingPush<H> push;
    TensorholdException refusal = ack.hasError() ? TensorholdException.of(ack.getError()) : null;
    if (refusal != null && refusal.retryable()) {
      broken(from, refusal);
      return;
    }
    synchronized (this) {
      if (refusal != null && from != generation) {
        return;
      }
      attempt = 0;
      movedAt = System.nanoTime();
      push = unacked.remove(ack.getSeq());
    }
    if (push == null) {
      return;
    }
    if (refusal != null) {
      push.done().completeExceptionally(refusal);
      return;
    }
    try {
      if (frame != null) {
        push.updated().accept(frame);
      }
      push.done().complete(ack);
    } catch (RuntimeException e) {
      push.done().completeExceptionally(e);
    }
  }

  /** Gives up a stream; what was sent on it is sent again, unless it can never succeed. */
  private void broken(int which, TensorholdException why) {
    List<PendingPush<H>> failed = new ArrayList<>();
    synchronized (this) {
      if (which != generation || closed) {
        return;
      }
      generation++;
      ClientCallStreamObserver<Frame<H>> old = stream;
      stream = null;
      if (old != null) {
        old.cancel("the stream is given up: " + why.getMessage(), null);
      }
      boolean hopeless = !why.retryable() && !why.reason().equals("INTERNAL");
      if (hopeless) {
        failed.addAll(unacked.values());
        unacked.clear();
      }
    }
    failed.forEach(push -> push.done().completeExceptionally(why));
    failExpired(why);
    boolean more;
    synchronized (this) {
      more = !unacked.isEmpty();
    }
    if (more) {
      send();
    }
  }

  /**
   * Leaves a leader that says nothing, if another one has taken its place: the connection to a
   * server that hangs or is cut off stays open, and would be waited for as long as that lasts.
   */
  void leaveSilent() {
    int silent;
    String address;
    synchronized (this) {
      address = stream == null || unacked.isEmpty() ? null : leader;
      if (address == null || System.nanoTime() - movedAt < ClusterConnection.SILENCE.toNanos()) {
        return;
      }
      silent = generation;
      movedAt = System.nanoTime();
    }
    String said = address;
    cluster
        .executor()
        .execute(
            () -> {
              if (cluster.leadsNoMore(shard, said)) {
                broken(silent, ClusterConnection.leftBehind(said));
              }
            });
  }

  /** Ends the pushes whose deadline has passed; whether they were applied is not known. */
  void failExpired(TensorholdException why) {
    List<PendingPush<H>> expired = new ArrayList<>();
    long now = System.nanoTime();
    synchronized (this) {
      unacked.values().removeIf(push -> push.deadline() - now < 0 && expired.add(push));
    }
    for (PendingPush<H> push : expired) {
      push.done()
          .completeExceptionally(
              new TensorholdException(
                  "DEADLINE_EXCEEDED",
                  "push %d to shard %d was not acknowledged in time; it may have been applied: %s"
                      .formatted(push.seq(), shard, why.getMessage())));
    }
  }

  void close() {
    List<PendingPush<H>> left = new ArrayList<>();
    synchronized (this) {
      closed = true;
      if (stream != null) {
        if (unacked.isEmpty()) {
          stream.onCompleted();
        } else {
          stream.cancel("the session is closed", null);
        }
        stream = null;
      }
      left.addAll(unacked.values());
      unacked.clear();
    }
    left.forEach(
        push ->
            push.done()
                .completeExceptionally(
                    new TensorholdException("CANCELLED", "the session was closed")));
  }
}
