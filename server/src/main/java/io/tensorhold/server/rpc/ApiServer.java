package io.tensorhold.server.rpc;

import io.grpc.Server;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.protobuf.services.HealthStatusManager;
import io.grpc.protobuf.services.ProtoReflectionServiceV1;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.server.admin.ServerReport;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.ChannelSettings;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** The public port: the services of {@code tensorhold.v1}, gRPC health and reflection. */
public final class ApiServer implements AutoCloseable {
  private static final int GRACE_SECONDS = 5;

  private final Server server;
  private final ExecutorService executor;
  private final HealthStatusManager health = new HealthStatusManager();

  /**
   * A server that is not listening yet.
   *
   * @param farMap the cluster's map from elsewhere, for a server that holds no catalog itself
   */
  public ApiServer(
      InetSocketAddress listen,
      ClusterNode node,
      Trainer trainer,
      ServerReport report,
      Traffic traffic,
      BooleanSupplier diskFull,
      Supplier<ClusterMap> farMap) {
    executor =
        Executors.newCachedThreadPool(Thread.ofPlatform().name("rpc-", 0).daemon().factory());
    Supplier<ClusterMap> map =
        () -> {
          ClusterMap near = withLeaders(node);
          return near.getServersCount() > 0 ? near : farMap.get();
        };
    Errors errors = new Errors(id -> address(map.get(), id));
    server =
        ChannelSettings.server(listen)
            .executor(executor)
            .addService(new CatalogService(node.catalog(), errors, diskFull))
            .addService(new BlocksService(node, trainer, errors, traffic, diskFull, executor))
            .addService(new RowsService(node, trainer, errors, traffic, diskFull, executor))
            .addService(
                new TrainingService(node.catalog(), trainer, node.shardCount(), errors, executor))
            .addService(new ClusterService(node, map, report, errors))
            .addService(new ReplicationService(node, errors))
            .addService(health.getHealthService())
            .addService(ProtoReflectionServiceV1.newInstance())
            .build();
  }

  private static ClusterMap withLeaders(ClusterNode node) {
    ClusterMap.Builder map = node.catalog().state().map().toBuilder();
    String catalogLeader = node.catalog().leadership().leader();
    if (catalogLeader != null) {
      map.setCatalogLeader(catalogLeader);
    }
    for (int shard = 0; shard < map.getShardsCount(); shard++) {
      Leadership leadership = node.shard(shard).leadership();
      map.getShardsBuilder(shard).setTerm(leadership.term());
      if (leadership.leader() != null) {
        map.getShardsBuilder(shard).setLeader(leadership.leader());
      }
    }
    return map.build();
  }

  static @Nullable String address(ClusterMap map, String id) {
    return map.getServersList().stream()
        .filter(server -> server.getId().equals(id))
        .map(io.tensorhold.proto.v1.Server::getAddress)
        .findFirst()
        .orElse(null);
  }

  /** Starts listening. */
  public void start() throws IOException {
    server.start();
    health.setStatus(HealthStatusManager.SERVICE_NAME_ALL_SERVICES, ServingStatus.SERVING);
  }

  /** Stops taking calls, and gives those under way some seconds. */
  @Override
  public void close() {
    health.enterTerminalState();
    server.shutdown();
    try {
      if (!server.awaitTermination(GRACE_SECONDS, TimeUnit.SECONDS)) {
        server.shutdownNow();
        server.awaitTermination(GRACE_SECONDS, TimeUnit.SECONDS);
      }
    } catch (InterruptedException e) {
      server.shutdownNow();
      Thread.currentThread().interrupt();
    }
    executor.shutdown();
  }
}
