package io.tensorhold.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.util.Map;

/**
 * A request that the cluster refused, or that did not end in time. The reason is one of the
 * protocol's ({@code MODEL_UNKNOWN}, {@code NONFINITE}, …), or the name of a gRPC status.
 */
public final class TensorholdException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** Reason of an error in a TLS handshake, which another attempt does not mend. */
  static final String TLS_FAILED = "TLS_FAILED";

  private final String reason;
  private final transient Map<String, String> details;

  /** An error of this client's own making. */
  public TensorholdException(String reason, String message) {
    this(reason, message, Map.of());
  }

  private TensorholdException(String reason, String message, Map<String, String> details) {
    super(message);
    this.reason = reason;
    this.details = details;
  }

  /** Why, for programs. */
  public String reason() {
    return reason;
  }

  /** The values that the error is about. */
  public Map<String, String> details() {
    return details;
  }

  /** Whether the same request may succeed elsewhere or later, and is safe to repeat. */
  boolean retryable() {
    return reason.equals("NOT_LEADER")
        || reason.equals("UNAVAILABLE")
        || reason.equals("REPLICA_STALE");
  }

  static TensorholdException of(Throwable error) {
    if (error instanceof TensorholdException known) {
      return known;
    }
    String handshake = TlsFault.in(error);
    if (handshake != null) {
      return new TensorholdException(TLS_FAILED, handshake);
    }
    if (Status.fromThrowable(error).getCause() instanceof IOException io
        && io.getMessage() != null) {
      // The status says "io exception" and no more.
      return new TensorholdException("UNAVAILABLE", io.getMessage());
    }
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    if (status != null) {
      return of(status);
    }
    Status plain = Status.fromThrowable(error);
    String reason =
        plain.getCode() == Status.Code.CANCELLED ? "UNAVAILABLE" : plain.getCode().name();
    String text = plain.getDescription();
    return new TensorholdException(reason, text == null ? plain.toString() : text);
  }

  /** What a status of an answer says. */
  public static TensorholdException of(com.google.rpc.Status status) {
    for (Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        try {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          return new TensorholdException(
              info.getReason(), status.getMessage(), info.getMetadataMap());
        } catch (InvalidProtocolBufferException e) {
          break;
        }
      }
    }
    String name = Status.fromCodeValue(status.getCode()).getCode().name();
    String reason =
        name.equals("CANCELLED") || name.equals("DEADLINE_EXCEEDED") ? "UNAVAILABLE" : name;
    return new TensorholdException(reason, status.getMessage());
  }
}
