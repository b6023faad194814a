package io.tensorhold.server.raft;

import io.tensorhold.proto.v1.Server;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.wire.TlsIdentity;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import org.apache.ratis.client.RaftClient;
import org.apache.ratis.conf.Parameters;
import org.apache.ratis.conf.RaftProperties;
import org.apache.ratis.grpc.GrpcConfigKeys;
import org.apache.ratis.grpc.GrpcTlsConfig;
import org.apache.ratis.proto.RaftProtos.CommitInfoProto;
import org.apache.ratis.protocol.ClientId;
import org.apache.ratis.protocol.GroupManagementRequest;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.protocol.RaftClientReply;
import org.apache.ratis.protocol.RaftClientRequest;
import org.apache.ratis.protocol.RaftGroup;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.protocol.RaftPeer;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.protocol.SetConfigurationRequest;
import org.apache.ratis.protocol.SnapshotManagementRequest;
import org.apache.ratis.protocol.TransferLeadershipRequest;
import org.apache.ratis.protocol.exceptions.NotLeaderException;
import org.apache.ratis.server.DivisionInfo;
import org.apache.ratis.server.RaftConfiguration;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.StateMachine;
import org.apache.ratis.thirdparty.io.netty.handler.ssl.OpenSsl;
import org.apache.ratis.thirdparty.io.netty.handler.ssl.SslProvider;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One server's part in all Raft groups of its cluster.
 *
 * <p>Everything is submitted in process: a client of Ratis stalls for seconds after a leader's
 * death, and who leads is our own clients' business.
 */
final class RaftNode implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(RaftNode.class);
  static final long ADMIN_TIMEOUT_MS = 30_000;

  private volatile @Nullable RaftServer server;
  private final RaftProperties properties;
  private final StateMachine.Registry machines;
  private final RaftPeerId self;
  private final ClientId client = ClientId.randomId();
  private final AtomicLong calls = new AtomicLong();
  private final Parameters parameters = new Parameters();

  RaftNode(
      RaftSettings settings,
      String serverId,
      InetSocketAddress listen,
      Path directory,
      StateMachine.Registry machines,
      @Nullable TlsIdentity tls) {
    self = RaftPeerId.valueOf(serverId);
    this.properties = settings.properties(directory, listen);
    this.machines = machines;
    GrpcConfigKeys.Server.setServicesCustomizer(parameters, new AddresseeCheck(self, () -> server));
    if (tls != null) {
      GrpcConfigKeys.TLS.setConf(
          parameters,
          GrpcTlsConfig.newBuilder()
              .setKeyManager(tls.keyManager())
              .setTrustManager(tls.trustManager())
              .setMutualTls(true)
              .setSslProvider(OpenSsl.isAvailable() ? SslProvider.OPENSSL : SslProvider.JDK)
              .build());
    }
  }

  /** Starts the groups that are on disk: their machines are asked for now. */
  void start() throws IOException {
    RaftServer starting =
        RaftServer.newBuilder()
            .setServerId(self)
            .setProperties(properties)
            .setParameters(parameters)
            .setStateMachineRegistry(machines)
            .setOption(RaftStorage.StartupOption.RECOVER)
            .build();
    server = starting;
    starting.start();
  }

  private RaftServer server() {
    RaftServer started = server;
    if (started == null) {
      throw new Refusal(Reason.UNAVAILABLE, "this server is starting");
    }
    return started;
  }

  static RaftPeer peer(Server server) {
    return RaftPeer.newBuilder().setId(server.getId()).setAddress(server.getRaftAddress()).build();
  }

  boolean holds(RaftGroupId group) {
    RaftServer started = server;
    if (started != null) {
      for (RaftGroupId held : started.getGroupIds()) {
        if (held.equals(group)) {
          return true;
        }
      }
    }
    return false;
  }

  /** Starts a group whose only member is this server. */
  void found(RaftGroupId group, Server me) throws IOException {
    if (!holds(group)) {
      check(
          server()
              .groupManagement(
                  GroupManagementRequest.newAdd(
                      client, self, calls.incrementAndGet(), RaftGroup.valueOf(group, peer(me)))));
    }
  }

  /** Makes another server ready to be added to a group: it waits there without a vote. */
  void prepare(RaftGroupId group, Server joiner) throws IOException {
    RaftPeer peer = peer(joiner);
    try (RaftClient admin =
        RaftClient.newBuilder()
            .setProperties(properties)
            .setParameters(parameters)
            .setRaftGroup(RaftGroup.valueOf(group, peer))
            .build()) {
      RaftClientReply reply =
          admin.getGroupManagementApi(peer.getId()).add(RaftGroup.valueOf(group));
      check(reply);
    } catch (IOException e) {
      if (!String.valueOf(e.getMessage()).contains("already exists")) {
        throw e;
      }
    }
  }

  /** Changes the members of a group that this server leads. */
  void reconfigure(RaftGroupId group, List<Server> members) throws IOException {
    List<RaftPeer> peers = members.stream().map(RaftNode::peer).toList();
    check(
        server()
            .setConfiguration(
                new SetConfigurationRequest(
                    client, self, group, calls.incrementAndGet(), peers, List.of())));
  }

  /** Who votes: the former members as long as a change to new ones is under way. */
  List<String> members(RaftGroupId group) throws IOException {
    RaftConfiguration configuration = server().getDivision(group).getRaftConf();
    Collection<RaftPeer> former = configuration.getPreviousPeers();
    Collection<RaftPeer> voters = former.isEmpty() ? configuration.getCurrentPeers() : former;
    return voters.stream().map(peer -> peer.getId().toString()).sorted().toList();
  }

  /** {@link #members}, or nobody if this server is not in the group. */
  List<String> membersIfHeld(RaftGroupId group) {
    try {
      return holds(group) ? members(group) : List.of();
    } catch (IOException e) {
      return List.of();
    }
  }

  void transfer(RaftGroupId group, String target, long timeoutMillis) throws IOException {
    check(
        server()
            .transferLeadership(
                new TransferLeadershipRequest(
                    client,
                    self,
                    group,
                    calls.incrementAndGet(),
                    RaftPeerId.valueOf(target),
                    timeoutMillis)));
  }

  /**
   * Hands a group over that this server leads to the member that is furthest; does nothing if it
   * does not lead, or is alone.
   */
  void handOver(RaftGroupId group, long timeoutMillis) throws IOException {
    if (!leadership(group).leads()) {
      return;
    }
    List<String> others =
        server().getDivision(group).getCommitInfos().stream()
            .filter(info -> !RaftPeerId.valueOf(info.getServer().getId()).equals(self))
            .sorted(Comparator.comparingLong(CommitInfoProto::getCommitIndex).reversed())
            .map(info -> RaftPeerId.valueOf(info.getServer().getId()).toString())
            .toList();
    List<String> voters = members(group);
    IOException failure = null;
    for (String other : others) {
      if (voters.contains(other)) {
        try {
          transfer(group, other, timeoutMillis);
          log.info("{} is handed over to server {}", group, other);
          return;
        } catch (IOException e) {
          failure = e;
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
  }

  /** Stops this server's part in a group, if it has one; its files stay, and it is a member. */
  void suspend(RaftGroupId group) throws IOException {
    if (holds(group)) {
      GroupManagementRequest leave =
          GroupManagementRequest.newRemove(
              client, self, calls.incrementAndGet(), group, false, false);
      check(StuckLogs.freed(() -> server().groupManagement(leave)));
    }
  }

  /** Takes up the part in a group that the files on disk describe. */
  void resume(RaftGroupId group) throws IOException {
    check(
        server()
            .groupManagement(
                GroupManagementRequest.newAdd(
                    client, self, calls.incrementAndGet(), RaftGroup.valueOf(group), false)));
  }

  /** Lets the log be cut before the index that the group's state machine has on disk. */
  void cutLog(RaftGroupId group) {
    try {
      var _ =
          server()
              .snapshotManagementAsync(
                  SnapshotManagementRequest.newCreate(
                      client, self, group, calls.incrementAndGet(), ADMIN_TIMEOUT_MS, 1));
    } catch (RuntimeException e) {
      log.warn("the log of {} can't be cut now", group, e);
    }
  }

  /** Appends an entry; the future ends when it is committed and applied here. */
  CompletableFuture<Appended> append(
      RaftGroupId group, Message entry, Supplier<Leadership> leadership) {
    return submit(group, entry, RaftClientRequest.writeRequestType())
        .thenApply(
            reply -> {
              refuse(reply, leadership);
              return Appended.of(reply.getLogIndex(), reply.getMessage().getContent());
            });
  }

  /**
   * Ends once this server has applied all that was acknowledged before, as the leader says: itself,
   * if it is sure to lead, or else the one that it follows.
   */
  CompletableFuture<Void> fence(RaftGroupId group, Supplier<Leadership> leadership) {
    if (leadsAlone(group)) {
      return CompletableFuture.completedFuture(null);
    }
    return submit(group, Message.EMPTY, RaftClientRequest.readRequestType())
        .thenAccept(reply -> refuse(reply, leadership));
  }

  /** Whether nobody but this server votes, so that no other can have been elected. */
  private boolean leadsAlone(RaftGroupId group) {
    try {
      RaftServer.Division division = server().getDivision(group);
      RaftConfiguration configuration = division.getRaftConf();
      return division.getInfo().isLeader()
          && division.getInfo().isLeaderReady()
          && configuration.getCurrentPeers().size() == 1
          && configuration.getPreviousPeers().isEmpty();
    } catch (IOException e) {
      return false;
    }
  }

  private CompletableFuture<RaftClientReply> submit(
      RaftGroupId group, Message message, RaftClientRequest.Type type) {
    RaftClientRequest request =
        RaftClientRequest.newBuilder()
            .setClientId(client)
            .setServerId(self)
            .setGroupId(group)
            .setCallId(calls.incrementAndGet())
            .setMessage(message)
            .setType(type)
            .build();
    try {
      return server()
          .submitClientRequestAsync(request)
          .exceptionallyCompose(e -> CompletableFuture.failedFuture(unavailable(e)));
    } catch (IOException e) {
      return CompletableFuture.failedFuture(unavailable(e));
    }
  }

  private static void refuse(RaftClientReply reply, Supplier<Leadership> leadership) {
    if (reply.isSuccess()) {
      return;
    }
    Exception e = reply.getException();
    throw e instanceof NotLeaderException
        ? notLeader(leadership.get())
        : unavailable(e == null ? new IOException(reply.toString()) : e);
  }

  static Refusal notLeader(Leadership leadership) {
    return new Refusal(
        Reason.NOT_LEADER,
        "this server does not lead"
            + (leadership.leader() == null ? "" : ": " + leadership.leader() + " does"),
        "leader-id",
        leadership.leader() == null ? "" : leadership.leader());
  }

  private static Refusal unavailable(Throwable e) {
    Throwable cause = e instanceof CompletionException && e.getCause() != null ? e.getCause() : e;
    return new Refusal(Reason.UNAVAILABLE, "the log can't take it now: " + cause.getMessage());
  }

  Leadership leadership(RaftGroupId group) {
    DivisionInfo info;
    try {
      if (!holds(group)) {
        return Leadership.NONE;
      }
      info = server().getDivision(group).getInfo();
    } catch (IOException e) {
      return Leadership.NONE;
    }
    RaftPeerId leader = info.getLeaderId();
    String role =
        info.isLeader()
            ? "leader"
            : info.isFollower() ? "follower" : info.isCandidate() ? "candidate" : "starting";
    boolean leads = info.isLeader() && info.isLeaderReady();
    return new Leadership(leads, name(leader), info.getCurrentTerm(), role);
  }

  private static @Nullable String name(@Nullable RaftPeerId id) {
    return id == null || id.toString().isEmpty() ? null : id.toString();
  }

  private static void check(RaftClientReply reply) throws IOException {
    if (!reply.isSuccess()) {
      throw reply.getException() == null
          ? new IOException(reply.toString())
          : new IOException(reply.getException().getMessage(), reply.getException());
    }
  }

  @Override
  public void close() throws IOException {
    RaftServer started = server;
    if (started != null) {
      StuckLogs.freed(
          () -> {
            started.close();
            return started;
          });
    }
  }
}
