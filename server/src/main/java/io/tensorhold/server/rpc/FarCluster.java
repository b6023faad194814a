package io.tensorhold.server.rpc;

import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.tensorhold.proto.v1.ClusterGrpc;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.GetClusterMapRequest;
import io.tensorhold.proto.v1.JoinRequest;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.TlsIdentity;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * A cluster as one of its servers-to-be sees it: through the addresses it was given.
 *
 * @param addresses of any of its servers
 * @param tls who this server is; null: no TLS
 */
public record FarCluster(List<String> addresses, @Nullable TlsIdentity tls) {
  private static final int DEADLINE_SECONDS = 5;

  /** Host and port of an address such as {@code db1:7070} or {@code [::1]:7070}. */
  public record Address(String host, int port) {
    /**
     * Reads an address.
     *
     * @throws IllegalArgumentException if it has no port, or one outside 0 to 65535
     */
    public static Address of(String text) {
      int colon = text.lastIndexOf(':');
      try {
        int port = Integer.parseInt(text.substring(colon + 1));
        if (colon > 0 && port >= 0 && port <= 65535) {
          String host = text.substring(0, colon);
          return new Address(
              host.startsWith("[") ? host.substring(1, host.length() - 1) : host, port);
        }
      } catch (NumberFormatException e) {
        throw wrong(text);
      }
      throw wrong(text);
    }

    private static IllegalArgumentException wrong(String text) {
      return new IllegalArgumentException(
          "address: value=\"%s\" allowed=HOST:PORT, such as db1:7070".formatted(text));
    }
  }

  /**
   * Adds a server to the cluster that one of the addresses belongs to, following it to its leader.
   *
   * @throws Refusal if the cluster does not want it, or can't be reached now
   */
  public ClusterMap join(Server me, String clusterId) {
    return replace(me, clusterId, "");
  }

  /**
   * As {@link #join}, in the place of a server whose logs are lost.
   *
   * @param former its id; empty: of none
   */
  public ClusterMap replace(Server me, String clusterId, String former) {
    JoinRequest request =
        JoinRequest.newBuilder().setServer(me).setClusterId(clusterId).setReplaces(former).build();
    return ask(stub -> stub.join(request).getMap());
  }

  /** The map as one of the addresses tells it. */
  public ClusterMap map() {
    return ask(stub -> stub.getClusterMap(GetClusterMapRequest.getDefaultInstance()));
  }

  private <T> T ask(Function<ClusterGrpc.ClusterBlockingStub, T> call) {
    String last = "no address was given";
    for (String first : addresses) {
      String address = first;
      for (int hop = 0; hop < 3 && address != null; hop++) {
        try {
          return ask(address, call);
        } catch (StatusRuntimeException e) {
          ErrorInfo info = info(e);
          last = "%s: %s".formatted(address, e.getStatus().getDescription());
          if (info == null
              && e.getStatus().getCode() != Status.Code.UNAVAILABLE
              && e.getStatus().getCode() != Status.Code.DEADLINE_EXCEEDED) {
            throw new Refusal(Reason.UNAVAILABLE, last);
          }
          if (info != null && info.getReason().equals(Reason.CLUSTER_MISMATCH.name())) {
            throw new Refusal(Reason.CLUSTER_MISMATCH, last);
          }
          address = info == null ? null : info.getMetadataMap().get("leader");
        }
      }
    }
    throw new Refusal(Reason.UNAVAILABLE, "the cluster can't be reached: " + last);
  }

  private <T> T ask(String text, Function<ClusterGrpc.ClusterBlockingStub, T> call) {
    Address address = Address.of(text);
    ManagedChannel channel = ChannelSettings.client(address.host(), address.port(), tls).build();
    try {
      return call.apply(
          ClusterGrpc.newBlockingStub(channel)
              .withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS));
    } finally {
      channel.shutdownNow();
    }
  }

  private static @Nullable ErrorInfo info(StatusRuntimeException e) {
    com.google.rpc.Status status = StatusProto.fromThrowable(e);
    if (status == null) {
      return null;
    }
    for (com.google.protobuf.Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        try {
          return detail.unpack(ErrorInfo.class);
        } catch (com.google.protobuf.InvalidProtocolBufferException unreadable) {
          return null;
        }
      }
    }
    return null;
  }
}
