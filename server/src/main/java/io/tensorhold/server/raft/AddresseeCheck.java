package io.tensorhold.server.raft;

import java.io.IOException;
import java.util.EnumSet;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import org.apache.ratis.grpc.server.GrpcServices;
import org.apache.ratis.proto.RaftProtos.AppendEntriesRequestProto;
import org.apache.ratis.proto.RaftProtos.InstallSnapshotRequestProto;
import org.apache.ratis.proto.RaftProtos.RaftRpcRequestProto;
import org.apache.ratis.proto.RaftProtos.RequestVoteRequestProto;
import org.apache.ratis.proto.RaftProtos.StartLeaderElectionRequestProto;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.server.DivisionInfo;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.thirdparty.io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import org.apache.ratis.thirdparty.io.grpc.Metadata;
import org.apache.ratis.thirdparty.io.grpc.ServerCall;
import org.apache.ratis.thirdparty.io.grpc.ServerCallHandler;
import org.apache.ratis.thirdparty.io.grpc.ServerInterceptor;
import org.apache.ratis.thirdparty.io.grpc.Status;
import org.apache.ratis.thirdparty.io.grpc.netty.NettyServerBuilder;
import org.apache.ratis.util.LifeCycle;
import org.apache.ratis.util.ProtoUtils;
import org.jspecify.annotations.Nullable;

/**
 * Turns away what other servers say to somebody else, or to a group that has not started here.
 *
 * <p>Ratis looks at the group of a message, not at whom it is for. A server that has lost its disk
 * comes back under a new id, often at the same address; without this check it would vote and
 * acknowledge in the name of the lost one, with an empty log.
 *
 * <p>Ratis lets messages in while a group is starting. One that comes before the group has a log
 * leaves a mark of a snapshot under way that nothing removes, so that the replica never gets one;
 * one that comes a moment later makes the start fail, and the group holds its files for ever.
 */
final class AddresseeCheck implements GrpcServices.Customizer, ServerInterceptor {
  private final RaftPeerId self;
  private final Supplier<@Nullable RaftServer> server;
  private final Map<RaftGroupId, RaftServer.Division> started = new ConcurrentHashMap<>();

  /**
   * The check of one server.
   *
   * @param server what takes the messages; null: it takes none yet
   */
  AddresseeCheck(RaftPeerId self, Supplier<@Nullable RaftServer> server) {
    this.self = self;
    this.server = server;
  }

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
    return hasStarted(ProtoUtils.toRaftGroupId(request.getRaftGroupId()))
        ? null
        : "server " + self + " has not started its replica of this group";
  }

  /**
   * Whether Ratis has ended the start of a group. A member then runs; a server that is to become
   * one has a role, and runs only once the leader has said so, in messages that must come through.
   */
  private boolean hasStarted(RaftGroupId group) {
    try {
      RaftServer taker = server.get();
      if (taker == null) {
        return false;
      }
      RaftServer.Division division = taker.getDivision(group);
      if (division.equals(started.get(group))) {
        return true;
      }
      DivisionInfo info = division.getInfo();
      boolean member = division.getRaftConf().getPeer(self) != null;
      if (info.getLifeCycleState() != LifeCycle.State.RUNNING
          && (member || info.getCurrentRole() == null)) {
        return false;
      }
      started.put(group, division);
      return true;
    } catch (IOException notHeld) {
      return false;
    }
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
