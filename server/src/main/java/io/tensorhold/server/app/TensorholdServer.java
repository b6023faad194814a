package io.tensorhold.server.app;

import io.tensorhold.proto.v1.Server;
import io.tensorhold.server.admin.Controller;
import io.tensorhold.server.admin.MetricsPage;
import io.tensorhold.server.admin.ServerReport;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.base.ByteSize;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.Fsync;
import io.tensorhold.server.raft.RaftSettings;
import io.tensorhold.server.rpc.ApiServer;
import io.tensorhold.server.rpc.FarCluster;
import io.tensorhold.server.rpc.FarCluster.Address;
import io.tensorhold.server.rpc.Listener;
import io.tensorhold.server.rpc.LocalSocket;
import io.tensorhold.server.rpc.ReplicaClient;
import io.tensorhold.server.store.SharedRocks;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.TlsFiles;
import io.tensorhold.wire.TlsIdentity;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A running shard server: everything is made here, in order, and closed in the opposite order. */
public final class TensorholdServer implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(TensorholdServer.class);

  private final List<AutoCloseable> parts = new ArrayList<>();
  private final Server me;
  private final String clusterId;

  /**
   * Starts a server; when this returns it serves.
   *
   * @throws StartFailure if it can't, in words for its operator
   */
  public static TensorholdServer start(ServerConfig config) {
    try {
      return new TensorholdServer(config);
    } catch (IllegalArgumentException e) {
      throw new StartFailure("configuration: " + e.getMessage());
    }
  }

  private TensorholdServer(ServerConfig config) {
    Address api = Address.of(config.listen());
    Address raft = Address.of(config.raft().listen());
    String address = advertised("advertise", config.listen(), config.advertise());
    String raftAddress =
        advertised("raft.advertise", config.raft().listen(), config.raft().advertise());
    long budget = ByteSize.of("memory.budget", config.memory().budget()).bytes();
    RaftSettings settings = raftSettings(config.raft());
    ByteSize reserve = ByteSize.of("disk.reserve", config.disk().reserve());
    ByteSize cache = ByteSize.of("memory.rocksdb-cache", config.memory().rocksdbCache());
    ByteSize bspBuffer = ByteSize.of("training.bsp-buffer", config.training().bspBuffer());
    TlsIdentity tls = tls(config.tls());
    Listener listener = listener(config, new InetSocketAddress(api.host(), api.port()), tls);
    FarCluster far = new FarCluster(config.joinAddresses(), tls);
    DataDirectory data = DataDirectory.open(Path.of(config.dataDir()));
    parts.add(data);
    boolean started = false;
    try {
      requireFree("listen", api);
      requireFree("raft.listen", raft);
      Function<String, Server> serverOf =
          id ->
              Server.newBuilder().setId(id).setAddress(address).setRaftAddress(raftAddress).build();
      DataDirectory.Identity identity = new Membership(config, data, far, serverOf).identity();
      me = serverOf.apply(identity.serverId());
      clusterId = identity.clusterId();
      final SharedRocks rocks = add(new SharedRocks(cache.bytes()));
      final ClusterNode node =
          add(
              new ClusterNode(
                  clusterId,
                  identity.shardCount(),
                  me,
                  new InetSocketAddress(raft.host(), raft.port()),
                  data.path(),
                  budget,
                  rocks,
                  settings,
                  new ReplicaClient(clusterId, far),
                  tls));
      node.start();
      data.identify(identity);
      if (node.alone() && identity.founder()) {
        node.found(config.replication());
        data.identify(identity.asFounded());
      } else if (!node.member() && config.joinAddresses().isEmpty()) {
        throw new StartFailure(
            "server %s has no replicas of cluster %s yet: start it with --join HOST:PORT"
                .formatted(me.getId(), clusterId));
      }
      node.awaitLoneGroups();
      DiskWatch disk = new DiskWatch(data.path(), reserve.bytes());
      Traffic traffic = new Traffic();
      Trainer trainer = add(new Trainer(node, bspBuffer.bytes()));
      ServerReport report =
          new ServerReport(node, data.path(), budget, traffic, disk, trainer::waitedMillis);
      add(new MetricsPage(config.metrics().listen(), report));
      Controller controller = add(new Controller(node));
      ApiServer server =
          add(new ApiServer(listener, me.getId(), node, trainer, report, traffic, disk, far::map));
      server.start();
      controller.start();
      started = true;
      log.info(
          "server {} of cluster {} serves on {} (raft {}, data {})",
          me.getId(),
          clusterId,
          address,
          raftAddress,
          data.path().toAbsolutePath());
    } catch (IOException e) {
      throw new StartFailure("the server can't start: " + e.getMessage());
    } catch (Refusal e) {
      throw new StartFailure(e.text());
    } finally {
      if (!started) {
        close();
      }
    }
  }

  private <T extends AutoCloseable> T add(T part) {
    parts.add(part);
    return part;
  }

  private static @Nullable TlsIdentity tls(ServerConfig.Tls files) {
    return files.on()
        ? new TlsIdentity(TlsFiles.of(files.ca(), files.certificate(), files.key()))
        : null;
  }

  /** Clients are judged by authorities of their own, and servers are clients too. */
  private static Listener listener(
      ServerConfig config, InetSocketAddress address, @Nullable TlsIdentity tls) {
    ServerConfig.Tls files = config.tls();
    if (files.clientCa().isBlank()) {
      Path local = config.localSocket() ? LocalSocket.in(Path.of(config.dataDir())) : null;
      return new Listener(address, tls, false, local);
    }
    TlsFiles own = TlsFiles.of(files.ca(), files.certificate(), files.key());
    return new Listener(address, new TlsIdentity(own, Path.of(files.clientCa())), true, null);
  }

  private static RaftSettings raftSettings(ServerConfig.Raft raft) {
    return new RaftSettings(
        Duration.ofMillis(raft.electionTimeoutMin()),
        Duration.ofMillis(raft.electionTimeoutMax()),
        ByteSize.of("raft.flush-log-bytes", raft.flushLogBytes()).bytes(),
        raft.keepEntries(),
        Duration.ofMillis(raft.compareInterval()),
        Fsync.of(raft.fsync()),
        Duration.ofMillis(raft.fsyncInterval()),
        beside(raft.payloads()));
  }

  private static boolean beside(String payloads) {
    return switch (payloads) {
      case "beside" -> true;
      case "inside" -> false;
      default ->
          throw new IllegalArgumentException(
              "raft.payloads: value=\"%s\" allowed=beside, inside".formatted(payloads));
    };
  }

  private static String advertised(String key, String listen, String advertise) {
    if (!advertise.isBlank()) {
      Address unused = Address.of(advertise);
      return unused.host().contains(":") ? advertise : unused.host() + ":" + unused.port();
    }
    if (listen.startsWith("0.0.0.0:") || listen.startsWith("[::]:")) {
      throw new StartFailure(
          "%s is missing: listening on %s says nothing of where others find this server; set it to HOST:PORT"
              .formatted(key, listen));
    }
    return listen;
  }

  private static void requireFree(String key, Address address) {
    try (ServerSocket probe = new ServerSocket()) {
      probe.setReuseAddress(true);
      probe.bind(new InetSocketAddress(address.host(), address.port()));
    } catch (IOException e) {
      throw new StartFailure(
          "%s: %s:%d can't be listened on: %s; stop what uses it, or choose another"
              .formatted(key, address.host(), address.port(), e.getMessage()));
    }
  }

  /** This server. */
  public Server me() {
    return me;
  }

  /** Id of the cluster. */
  public String clusterId() {
    return clusterId;
  }

  /** Stops: no new calls, what was taken is finished, everything is flushed. */
  @Override
  public void close() {
    parts.stream()
        .filter(ClusterNode.class::isInstance)
        .map(ClusterNode.class::cast)
        .forEach(ClusterNode::handOver);
    for (AutoCloseable part : parts.reversed()) {
      try {
        if (part instanceof ClusterNode node) {
          node.flush();
        }
        part.close();
      } catch (Exception e) {
        log.error("{} did not stop cleanly", part.getClass().getSimpleName(), e);
      }
    }
    parts.clear();
  }
}
