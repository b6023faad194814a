package io.tensorhold.server.raft;

import org.apache.ratis.proto.RaftProtos.AppendEntriesRequestProto;
import org.apache.ratis.proto.RaftProtos.InstallSnapshotRequestProto;
import org.apache.ratis.proto.RaftProtos.RaftRpcRequestProto;
import org.apache.ratis.proto.RaftProtos.ReadIndexRequestProto;
import org.apache.ratis.proto.RaftProtos.RequestVoteRequestProto;
import org.apache.ratis.proto.RaftProtos.StartLeaderElectionRequestProto;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.thirdparty.io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import org.apache.ratis.thirdparty.io.grpc.Metadata;
import org.apache.ratis.thirdparty.io.grpc.ServerCall;
import org.apache.ratis.thirdparty.io.grpc.ServerCallHandler;
import org.apache.ratis.thirdparty.io.grpc.ServerInterceptor;
import org.apache.ratis.thirdparty.io.grpc.Status;
import org.jspecify.annotations.Nullable;

/**
 * Turns away what other servers say to somebody else.
 *
 * <p>Ratis looks at the group of a message, not at whom it is for. A server that has lost its disk
 * comes back under a new id, often at the same address; without this check it would vote and
 * acknowledge in the name of the lost one, with an empty log.
 */
record AddresseeCheck(RaftPeerId self) implements ServerInterceptor {
  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    return new SimpleForwardingServerCallListener<>(next.startCall(call, headers)) {
      private boolean refused;

      @Override
      public void onMessage(Q message) {
        RaftRpcRequestProto request = betweenServers(message);
        if (request == null || RaftPeerId.valueOf(request.getReplyId()).equals(self)) {
          super.onMessage(message);
        } else if (!refused) {
          refused = true;
          call.close(
              Status.UNAVAILABLE.withDescription("this is server " + self + " now"),
              new Metadata());
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

  private static @Nullable RaftRpcRequestProto betweenServers(Object message) {
    return switch (message) {
      case AppendEntriesRequestProto append -> append.getServerRequest();
      case InstallSnapshotRequestProto install -> install.getServerRequest();
      case RequestVoteRequestProto vote -> vote.getServerRequest();
      case ReadIndexRequestProto read -> read.getServerRequest();
      case StartLeaderElectionRequestProto start -> start.getServerRequest();
      default -> null;
    };
  }
}
