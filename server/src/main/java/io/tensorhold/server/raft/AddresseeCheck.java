package io.tensorhold.server.raft;

import java.util.EnumSet;
import java.util.Set;
import org.apache.ratis.grpc.server.GrpcServices;
import org.apache.ratis.proto.RaftProtos.AppendEntriesRequestProto;
import org.apache.ratis.proto.RaftProtos.InstallSnapshotRequestProto;
import org.apache.ratis.proto.RaftProtos.RaftRpcRequestProto;
import org.apache.ratis.proto.RaftProtos.RequestVoteRequestProto;
import org.apache.ratis.proto.RaftProtos.StartLeaderElectionRequestProto;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.thirdparty.io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import org.apache.ratis.thirdparty.io.grpc.Metadata;
import org.apache.ratis.thirdparty.io.grpc.ServerCall;
import org.apache.ratis.thirdparty.io.grpc.ServerCallHandler;
import org.apache.ratis.thirdparty.io.grpc.ServerInterceptor;
import org.apache.ratis.thirdparty.io.grpc.Status;
import org.apache.ratis.thirdparty.io.grpc.netty.NettyServerBuilder;
import org.apache.ratis.util.ProtoUtils;
import org.jspecify.annotations.Nullable;

/**
 * Turns away what other servers say to somebody else, or to a group that is not taken up yet.
 *
 * <p>Ratis looks at the group of a message, not at whom it is for. A server that has lost its disk
 * comes back under a new id, often at the same address; without this check it would vote and
 * acknowledge in the name of the lost one, with an empty log. And a group that a message reaches
 * while Ratis takes it up fails to start now and then, and holds its files for ever.
 *
 * @param self this server
 * @param suspended groups that this server takes no part in for now
 */
record AddresseeCheck(RaftPeerId self, Set<RaftGroupId> suspended)
    implements GrpcServices.Customizer, ServerInterceptor {
  @Override
  public NettyServerBuilder customize(
      NettyServerBuilder builder, EnumSet<GrpcServices.Type> types) {
    return types.contains(GrpcServices.Type.SERVER) ? builder.intercept(this) : builder;
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    return new SimpleForwardingServerCallListener<>(next.startCall(call, headers)) {
      private boolean refused;

      @Override
      public void onMessage(Q message) {
        RaftRpcRequestProto request = betweenServers(message);
        String fault = request == null ? null : fault(request);
        if (fault == null) {
          super.onMessage(message);
        } else if (!refused) {
          refused = true;
          call.close(Status.UNAVAILABLE.withDescription(fault), new Metadata());
          super.onCancel();
        }
      }

      @Override
      public void onHalfClose() {
        if (!refused) {
          super.onHalfClose();
        }
      }
    };
  }

  private @Nullable String fault(RaftRpcRequestProto request) {
    if (!RaftPeerId.valueOf(request.getReplyId()).equals(self)) {
      return "this is server " + self + " now";
    }
    return suspended.contains(ProtoUtils.toRaftGroupId(request.getRaftGroupId()))
        ? "server " + self + " mends its replica of this group"
        : null;
  }

  private static @Nullable RaftRpcRequestProto betweenServers(Object message) {
    return switch (message) {
      case AppendEntriesRequestProto append -> append.getServerRequest();
      case InstallSnapshotRequestProto install -> install.getServerRequest();
      case RequestVoteRequestProto vote -> vote.getServerRequest();
      case StartLeaderElectionRequestProto start -> start.getServerRequest();
      default -> null;
    };
  }
}
