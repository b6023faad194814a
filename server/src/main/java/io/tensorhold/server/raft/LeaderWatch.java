package io.tensorhold.server.raft;

import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.apache.ratis.proto.RaftProtos.AppendEntriesRequestProto;
import org.apache.ratis.proto.RaftProtos.RaftRpcRequestProto;
import org.apache.ratis.proto.RaftProtos.StartLeaderElectionRequestProto;
import org.apache.ratis.proto.RaftProtos.TermIndexProto;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.protocol.RaftPeer;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.server.DivisionInfo;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.thirdparty.io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import org.apache.ratis.thirdparty.io.grpc.Metadata;
import org.apache.ratis.thirdparty.io.grpc.ServerCall;
import org.apache.ratis.thirdparty.io.grpc.ServerCallHandler;
import org.apache.ratis.thirdparty.io.grpc.ServerInterceptor;
import org.apache.ratis.util.NetUtils;
import org.apache.ratis.util.ProtoUtils;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Asks for votes as soon as a leader's process is known to be dead, instead of after the election
 * timeout.
 *
 * <p>The kernel of a process that dies ends its connections at once, and with them the streams of
 * entries that come from it. A stream may end for other reasons, so the leader's Raft port is
 * tried: if the connection is refused, nobody is there. A host that is down or cut off does not
 * answer at all, and is left to the election timeout. A false alarm costs an election and nothing
 * else: who gets the votes is Raft's business as ever.
 *
 * <p>The followers take turns, which differ from group to group, so that they neither split the
 * votes nor lead everything.
 */
final class LeaderWatch implements ServerInterceptor, AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(LeaderWatch.class);
  private static final int CONNECT_MILLIS = 250;
  private static final long TURN_MILLIS = 150;
  private static final int ROUNDS = 4;

  private final RaftPeerId self;
  private final Supplier<RaftServer> server;
  private final Set<RaftPeerId> suspects = ConcurrentHashMap.newKeySet();
  private final Set<RaftGroupId> orphans = ConcurrentHashMap.newKeySet();
  private final ScheduledExecutorService thread =
      Executors.newSingleThreadScheduledExecutor(
          Thread.ofPlatform().name("leader-watch").daemon().factory());

  /** A watch of the leaders of a server's groups. */
  LeaderWatch(RaftPeerId self, Supplier<RaftServer> server) {
    this.self = self;
    this.server = server;
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    return new SimpleForwardingServerCallListener<>(next.startCall(call, headers)) {
      private @Nullable RaftPeerId sender;

      @Override
      public void onMessage(Q message) {
        if (sender == null && message instanceof AppendEntriesRequestProto append) {
          sender = RaftPeerId.valueOf(append.getServerRequest().getRequestorId());
        }
        super.onMessage(message);
      }

      @Override
      public void onCancel() {
        if (sender != null) {
          streamBroke(sender);
        }
        super.onCancel();
      }
    };
  }

  private void streamBroke(RaftPeerId peer) {
    if (suspects.add(peer)) {
      try {
        thread.execute(() -> examine(peer));
      } catch (RejectedExecutionException e) {
        log.debug("this server stops; {} is not examined", peer, e);
      }
    }
  }

  private void examine(RaftPeerId peer) {
    try {
      List<RaftServer.Division> led = ledBy(peer);
      if (led.isEmpty() || !refuses(led.getFirst(), peer)) {
        return;
      }
      log.info("server {} is gone; it led {} groups that are here", peer, led.size());
      for (RaftServer.Division group : led) {
        takeTurn(group, peer);
      }
    } catch (IOException | RuntimeException e) {
      log.warn("server {} can't be examined: {}", peer, e.getMessage());
    } finally {
      suspects.remove(peer);
    }
  }

  private List<RaftServer.Division> ledBy(RaftPeerId peer) throws IOException {
    List<RaftServer.Division> led = new ArrayList<>();
    for (RaftGroupId group : server.get().getGroupIds()) {
      RaftServer.Division division = server.get().getDivision(group);
      boolean votes = division.getRaftConf().getPeer(self) != null;
      if (votes && peer.equals(division.getInfo().getLeaderId())) {
        led.add(division);
      }
    }
    return led;
  }

  /** Whether a peer's host answers, and no process of it listens. */
  private static boolean refuses(RaftServer.Division group, RaftPeerId id) {
    RaftPeer peer = group.getRaftConf().getPeer(id);
    if (peer == null) {
      return false;
    }
    InetSocketAddress address = NetUtils.createSocketAddr(peer.getAddress());
    try (Socket socket = new Socket()) {
      socket.connect(address, CONNECT_MILLIS);
      return false;
    } catch (ConnectException refused) {
      return true;
    } catch (IOException unknown) {
      return false;
    }
  }

  private void takeTurn(RaftServer.Division division, RaftPeerId dead) {
    RaftGroupId group = division.getGroup().getGroupId();
    List<RaftPeerId> voters =
        division.getRaftConf().getCurrentPeers().stream()
            .map(RaftPeer::getId)
            .filter(id -> !id.equals(dead))
            .sorted(Comparator.comparing(RaftPeerId::toString))
            .toList();
    int shift = Math.floorMod(group.hashCode(), voters.size());
    int turn = (voters.indexOf(self) + shift) % voters.size();
    if (orphans.add(group)) {
      schedule(group, dead, turn, voters.size(), ROUNDS);
    }
  }

  private void schedule(RaftGroupId group, RaftPeerId dead, int turns, int voters, int rounds) {
    var _ =
        thread.schedule(
            () -> {
              if (ask(group, dead) && rounds > 1) {
                schedule(group, dead, voters, voters, rounds - 1);
              } else {
                orphans.remove(group);
              }
            },
            turns * TURN_MILLIS,
            TimeUnit.MILLISECONDS);
  }

  /** Asks for votes, unless there is a new leader; whether there was none. */
  private boolean ask(RaftGroupId group, RaftPeerId dead) {
    try {
      DivisionInfo info = server.get().getDivision(group).getInfo();
      RaftPeerId leader = info.getLeaderId();
      if (leader != null && !leader.equals(dead)) {
        return false;
      }
      if (info.isFollower()) {
        server.get().startLeaderElection(election(group, dead, info.getCurrentTerm()));
      }
      return true;
    } catch (IOException | RuntimeException e) {
      log.info("{} waits for its election timeout: {}", group, e.getMessage());
      return false;
    }
  }

  /** What a leader says to the follower that it hands over to. */
  private StartLeaderElectionRequestProto election(RaftGroupId group, RaftPeerId from, long term) {
    return StartLeaderElectionRequestProto.newBuilder()
        .setServerRequest(
            RaftRpcRequestProto.newBuilder()
                .setRequestorId(from.toByteString())
                .setReplyId(self.toByteString())
                .setRaftGroupId(ProtoUtils.toRaftGroupIdProtoBuilder(group)))
        .setLeaderLastEntry(TermIndexProto.newBuilder().setTerm(term))
        .build();
  }

  @Override
  public void close() {
    thread.shutdownNow();
  }
}
