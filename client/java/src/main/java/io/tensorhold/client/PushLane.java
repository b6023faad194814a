package io.tensorhold.client;

import io.grpc.CallOptions;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.wire.BlocksMethods;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.Frame;
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
final class PushLane {
  private static final CallOptions CALL =
      CallOptions.DEFAULT.withOnReadyThreshold(ChannelSettings.READY_BYTES);

  private final ClusterConnection cluster;
  private final int shard;
  private final boolean withBlocks;
  private final LongSupplier ackedBelow;
  private final TreeMap<Long, PendingPush> unacked = new TreeMap<>();
  private long sentUpTo;
  private int generation;
  private @Nullable ClientCallStreamObserver<Frame<PushHeader>> stream;
  private boolean connecting;
  private boolean sending;
  private int attempt;
  private boolean closed;

  PushLane(ClusterConnection cluster, int shard, boolean withBlocks, LongSupplier ackedBelow) {
    this.cluster = cluster;
    this.shard = shard;
    this.withBlocks = withBlocks;
    this.ackedBelow = ackedBelow;
  }

  void push(PendingPush push) {
    synchronized (this) {
      if (closed) {
        throw new TensorholdException("CANCELLED", "the session is closed");
      }
      unacked.put(push.header().getSeq(), push);
    }
    send();
  }

  /** Sends what the transport takes now; one thread at a time, so that the order holds. */
  private void send() {
    while (true) {
      PendingPush next;
      ClientCallStreamObserver<Frame<PushHeader>> out;
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
      PushHeader header = next.header().toBuilder().setAckedBelow(ackedBelow.getAsLong()).build();
      try {
        out.onNext(Frame.of(header, next.pieces(), () -> {}));
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
      open(address, generation);
    }
    send();
  }

  private void open(String address, int mine) {
    if (withBlocks) {
      ClientCalls.asyncBidiStreamingCall(
          cluster.channel(address).newCall(BlocksMethods.PUSH_PULL, CALL),
          new Answers<Frame<PushPullHeader>>(mine) {
            @Override
            public void onNext(Frame<PushPullHeader> frame) {
              try (frame) {
                answered(mine, frame.header().getAck(), frame);
              }
            }
          });
    } else {
      ClientCalls.asyncBidiStreamingCall(
          cluster.channel(address).newCall(BlocksMethods.PUSH, CALL),
          new Answers<PushResponse>(mine) {
            @Override
            public void onNext(PushResponse ack) {
              answered(mine, ack, null);
            }
          });
    }
  }

  private abstract class Answers<R> implements ClientResponseObserver<Frame<PushHeader>, R> {
    private final int mine;

    Answers(int mine) {
      this.mine = mine;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<Frame<PushHeader>> out) {
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
    PendingPush push;
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
    List<PendingPush> failed = new ArrayList<>();
    synchronized (this) {
      if (which != generation || closed) {
        return;
      }
      generation++;
      ClientCallStreamObserver<Frame<PushHeader>> old = stream;
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

  /** Ends the pushes whose deadline has passed; whether they were applied is not known. */
  void failExpired(TensorholdException why) {
    List<PendingPush> expired = new ArrayList<>();
    long now = System.nanoTime();
    synchronized (this) {
      unacked.values().removeIf(push -> push.deadline() - now < 0 && expired.add(push));
    }
    for (PendingPush push : expired) {
      push.done()
          .completeExceptionally(
              new TensorholdException(
                  "DEADLINE_EXCEEDED",
                  "push %d to shard %d was not acknowledged in time; it may have been applied: %s"
                      .formatted(push.header().getSeq(), shard, why.getMessage())));
    }
  }

  void close() {
    List<PendingPush> left = new ArrayList<>();
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
