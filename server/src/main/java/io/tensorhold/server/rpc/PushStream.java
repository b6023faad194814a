package io.tensorhold.server.rpc;

import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.rpc.BlockRequests.CheckedPush;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.training.PushDone;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.Frame;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/** One stream of pushes; {@link PushWindow} bounds what it holds. */
final class PushStream implements StreamObserver<Frame<PushHeader>> {
  private final Trainer trainer;
  private final BlockRequests requests;
  private final Errors errors;
  private final Traffic traffic;
  private final BooleanSupplier diskFull;
  private final Sender sender;
  private final PushWindow window;

  /** Sends the answer of a push. */
  interface Sender {
    /** Sends it; {@code push} is null when the push was refused. */
    void send(PushResponse ack, @Nullable CheckedPush push, PushHeader header);

    /** Asks for the next push. */
    void request();

    /** Ends the stream. */
    void complete();
  }

  PushStream(
      Trainer trainer,
      BlockRequests requests,
      Errors errors,
      Traffic traffic,
      BooleanSupplier diskFull,
      Sender sender) {
    this.trainer = trainer;
    this.requests = requests;
    this.errors = errors;
    this.traffic = traffic;
    this.diskFull = diskFull;
    this.sender = sender;
    this.window = new PushWindow(sender);
  }

  @Override
  public void onNext(Frame<PushHeader> frame) {
    PushHeader header = frame.header();
    long bytes = frame.payloadBytes();
    traffic.addPushed(bytes);
    window.taken(bytes);
    CheckedPush checked = null;
    CompletableFuture<PushDone> done;
    try (frame) {
      if (diskFull.getAsBoolean()) {
        throw BlockRequests.diskFull();
      }
      checked = requests.check(header, frame);
      traffic.addDecoded(checked.decodedBytes());
      try {
        done =
            trainer.push(
                checked.view().model(),
                header.getShard(),
                checked.command(),
                checked.parameters(),
                BlockRequests.step(header, checked.view(), checked.command().payload()),
                header.getExpectTerm());
      } finally {
        checked.release();
      }
    } catch (RuntimeException e) {
      done = CompletableFuture.failedFuture(e);
    }
    CheckedPush push = checked;
    var _ = done.whenComplete((value, failure) -> answer(header, push, value, failure, bytes));
    window.readOn();
  }

  private void answer(
      PushHeader header,
      @Nullable CheckedPush push,
      @Nullable PushDone done,
      @Nullable Throwable failure,
      long bytes) {
    PushResponse.Builder ack =
        PushResponse.newBuilder()
            .setSession(header.getSession())
            .setSeq(header.getSeq())
            .setShard(header.getShard());
    if (done != null) {
      ack.setLogIndex(done.logIndex()).setTerm(done.term()).setDuplicate(done.duplicate());
      if (done.sums() != null) {
        ack.setSums(FactorsCheck.toWire(Objects.requireNonNull(push).view(), done.sums()));
      }
      if (done.factors() != null) {
        ack.setFactors(FactorsCheck.toWire(done.factors()));
      }
    } else {
      ack.setError(errors.status(Objects.requireNonNull(failure)));
    }
    sender.send(ack.build(), done == null ? null : push, header);
    window.answered(bytes);
  }

  @Override
  public void onError(Throwable gone) {
    window.clientGone();
  }

  @Override
  public void onCompleted() {
    window.clientEnded();
  }

  /** A sender of acknowledgements alone. */
  static Sender acks(ServerCallStreamObserver<PushResponse> out) {
    return new ObserverSender<>(out) {
      @Override
      public void send(PushResponse ack, @Nullable CheckedPush push, PushHeader header) {
        next(ack);
      }
    };
  }

  /** A sender of acknowledgements with the blocks as they are now. */
  static Sender acksWithBlocks(
      ClusterNode node,
      Traffic traffic,
      Errors errors,
      Executor executor,
      ServerCallStreamObserver<Frame<PushPullHeader>> out) {
    return new ObserverSender<>(out) {
      @Override
      public void send(PushResponse ack, @Nullable CheckedPush push, PushHeader header) {
        executor.execute(() -> sendBlocks(ack, push, header));
      }

      private void sendBlocks(PushResponse ack, @Nullable CheckedPush push, PushHeader header) {
        BlockReader blocks = new BlockReader(shard -> node.shard(shard).machine());
        PushResponse answer = ack;
        if (push != null && !ack.hasSums()) {
          try {
            Codec codec =
                header.getPullCodecValue() == 0
                    ? null
                    : BlockRequests.pullCodec("the answer", header.getPullCodecValue());
            for (BlockHeader block : header.getBlocksList()) {
              ParameterRecord parameter = push.view().record(block.getParameterId());
              blocks.add(header.getShard(), parameter, block.getBlock(), codec);
            }
          } catch (RuntimeException e) {
            blocks.release();
            blocks = new BlockReader(shard -> node.shard(shard).machine());
            answer = ack.toBuilder().setError(errors.status(e)).build();
          }
        }
        traffic.addPulled(blocks.bytes(), false);
        PushPullHeader head =
            PushPullHeader.newBuilder().setAck(answer).addAllBlocks(blocks.headers()).build();
        try (Frame<PushPullHeader> frame = Frame.of(head, blocks.pieces(), blocks::release)) {
          next(frame);
        }
      }
    };
  }

  private abstract static class ObserverSender<R> implements Sender {
    private final ServerCallStreamObserver<R> out;
    private boolean ended;

    ObserverSender(ServerCallStreamObserver<R> out) {
      this.out = out;
      out.disableAutoRequest();
      out.setOnCancelHandler(this::end);
    }

    private synchronized void end() {
      ended = true;
    }

    synchronized void next(R message) {
      if (!ended) {
        out.onNext(message);
      }
    }

    @Override
    public synchronized void request() {
      if (!ended) {
        out.request(1);
      }
    }

    @Override
    public synchronized void complete() {
      if (!ended) {
        ended = true;
        out.onCompleted();
      }
    }
  }
}
