package io.tensorhold.server.rpc;

import com.google.protobuf.Any;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.store.StoreException;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The one place where errors become gRPC statuses with {@code google.rpc.ErrorInfo}. */
final class Errors {
  private static final Logger log = LoggerFactory.getLogger(Errors.class);
  private static final String DOMAIN = "tensorhold";

  private final Function<String, @Nullable String> addressOf;

  /** Errors that name the leader by the address which this gives for a server's id. */
  Errors(Function<String, @Nullable String> addressOf) {
    this.addressOf = addressOf;
  }

  /** Answers a call with what comes of its work. */
  <T> void answer(CompletableFuture<T> work, StreamObserver<T> reply) {
    var _ =
        work.whenComplete(
            (value, failure) -> {
              if (failure != null) {
                reply.onError(exception(failure));
              } else {
                reply.onNext(value);
                reply.onCompleted();
              }
            });
  }

  StatusException exception(Throwable error) {
    return StatusProto.toStatusException(status(error));
  }

  Status status(Throwable error) {
    Throwable cause = error;
    while (cause instanceof CompletionException && cause.getCause() != null) {
      cause = cause.getCause();
    }
    if (cause instanceof Refusal refusal) {
      return status(refusal);
    }
    if (cause instanceof StoreException failure) {
      log.error("the store failed", cause);
      if (failure.beingMended()) {
        return status(
            new Refusal(
                Reason.UNAVAILABLE,
                "this replica is damaged and is being mended from another: " + cause.getMessage()));
      }
      return status(
          new Refusal(Reason.CHECKSUM, "stored data can't be read: " + cause.getMessage()));
    }
    if (cause instanceof TimeoutException) {
      return status(
          new Refusal(Reason.UNAVAILABLE, "this server has not caught up in time; try again"));
    }
    log.error("a request failed in an unforeseen way", cause);
    return Status.newBuilder()
        .setCode(Code.INTERNAL_VALUE)
        .setMessage("the server failed: " + cause.getClass().getSimpleName() + "; see its log")
        .build();
  }

  private Status status(Refusal refusal) {
    ErrorInfo.Builder info =
        ErrorInfo.newBuilder()
            .setDomain(DOMAIN)
            .setReason(refusal.reason().name())
            .putAllMetadata(refusal.details());
    String leader = leader(refusal.details());
    if (leader != null) {
      info.putMetadata("leader", leader);
    }
    return Status.newBuilder()
        .setCode(code(refusal.reason()).getNumber())
        .setMessage(refusal.text())
        .addDetails(Any.pack(info.build()))
        .build();
  }

  private @Nullable String leader(Map<String, String> details) {
    String id = details.get("leader-id");
    try {
      return id == null || id.isEmpty() ? null : addressOf.apply(id);
    } catch (Refusal nobodyKnows) {
      return null;
    }
  }

  private static Code code(Reason reason) {
    return switch (reason) {
      case MODEL_UNKNOWN, PARAMETER_UNKNOWN, SESSION_UNKNOWN -> Code.NOT_FOUND;
      case MODEL_EXISTS, RANK_TAKEN -> Code.ALREADY_EXISTS;
      case BLOCK_OUT_OF_RANGE -> Code.OUT_OF_RANGE;
      case NAME_INVALID,
          SHAPE_INVALID,
          ALIAS_INVALID,
          CODEC_INVALID,
          OPTIMIZER_INVALID,
          KEYS_INVALID,
          PAYLOAD_LENGTH,
          NONFINITE,
          RANK_INVALID,
          REQUEST_INVALID ->
          Code.INVALID_ARGUMENT;
      case SESSION_EXPIRED,
          STEP_CLOSED,
          STEP_CONFLICT,
          STEP_UNKNOWN,
          STALE,
          NOT_LEADER,
          REPLICA_STALE,
          CLUSTER_MISMATCH ->
          Code.FAILED_PRECONDITION;
      case OVERLAY_LOST, STEP_FAILED -> Code.ABORTED;
      case DISK_FULL, LIMIT -> Code.RESOURCE_EXHAUSTED;
      case CHECKSUM -> Code.DATA_LOSS;
      case UNAVAILABLE -> Code.UNAVAILABLE;
    };
  }
}
