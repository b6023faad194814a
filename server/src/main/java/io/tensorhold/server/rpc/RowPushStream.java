package io.tensorhold.server.rpc;

import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.rpc.RowRequests.CheckedRows;
import io.tensorhold.server.training.PushDone;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.Frame;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/** One stream of pushes of rows; {@link PushWindow} bounds what it holds. */
final class RowPushStream implements StreamObserver<Frame<PushRowsHeader>> {
  private final Trainer trainer;
  private final RowRequests requests;
  private final Errors errors;
  private final Traffic traffic;
  private final BooleanSupplier diskFull;
  private final PushStream.Sender sender;
  private final PushWindow window;

  RowPushStream(
      Trainer trainer,
      RowRequests requests,
      Errors errors,
      Traffic traffic,
      BooleanSupplier diskFull,
      PushStream.Sender sender) {
    this.trainer = trainer;
    this.requests = requests;
    this.errors = errors;
    this.traffic = traffic;
    this.diskFull = diskFull;
    this.sender = sender;
    this.window = new PushWindow(sender);
  }

  @Override
  public void onNext(Frame<PushRowsHeader> frame) {
    PushRowsHeader header = frame.header();
    long bytes = frame.payloadBytes();
    traffic.addPushed(bytes);
    window.taken(bytes);
    CompletableFuture<PushDone> done;
    try (frame) {
      done = push(header, frame);
    } catch (RuntimeException e) {
      done = CompletableFuture.failedFuture(e);
    }
    var _ = done.whenComplete((value, failure) -> answer(header, value, failure, bytes));
    window.readOn();
  }

  private CompletableFuture<PushDone> push(PushRowsHeader header, Frame<PushRowsHeader> frame) {
    if (diskFull.getAsBoolean()) {
      throw BlockRequests.diskFull();
    }
    CheckedRows checked = requests.check(header, frame);
    try {
      traffic.addDecoded(4L * checked.command().keys().length * checked.table().form().dim());
      return trainer.pushRows(
          checked.view().model(),
          header.getShard(),
          checked.command(),
          checked.table(),
          RowRequests.step(header, checked.command()),
          header.getExpectTerm());
    } finally {
      checked.release();
    }
  }

  private void answer(
      PushRowsHeader header, @Nullable PushDone done, @Nullable Throwable failure, long bytes) {
    PushResponse.Builder ack =
        PushResponse.newBuilder()
            .setSession(header.getSession())
            .setSeq(header.getSeq())
            .setShard(header.getShard());
    if (done != null) {
      ack.setLogIndex(done.logIndex()).setTerm(done.term()).setDuplicate(done.duplicate());
    } else {
      ack.setError(errors.status(Objects.requireNonNull(failure)));
    }
    sender.send(ack.build(), null, PushHeader.getDefaultInstance());
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
}
