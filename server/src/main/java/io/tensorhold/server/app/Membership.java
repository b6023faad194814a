package io.tensorhold.server.app;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.server.app.DataDirectory.Identity;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.rpc.FarCluster;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Who a server is: a founder, a joiner, the one that it was, or, after its logs were lost, somebody
 * new.
 *
 * <p>A voter must not forget what it has acknowledged or whom it voted for. So a server that was a
 * member and finds its logs gone never goes on under its former id: it takes a new one, and the
 * place of the former, whose votes are not cast any more.
 */
final class Membership {
  private static final Logger log = LoggerFactory.getLogger(Membership.class);
  private static final long JOIN_PATIENCE_SECONDS = 60;

  private final ServerConfig config;
  private final DataDirectory data;
  private final FarCluster far;
  private final Function<String, Server> serverOf;

  /** Of the server in a data directory, which an id makes the whole of. */
  Membership(
      ServerConfig config, DataDirectory data, FarCluster far, Function<String, Server> serverOf) {
    this.config = config;
    this.data = data;
    this.far = far;
    this.serverOf = serverOf;
  }

  /**
   * The identity to start with.
   *
   * @throws StartFailure if the cluster does not want it, or it has lost its logs and nobody knows
   */
  Identity identity() {
    Identity known = data.identity();
    boolean joins = !config.joinAddresses().isEmpty();
    if (known == null) {
      return joins ? joiner() : founder();
    }
    boolean logs = data.hasLogs();
    ClusterMap map = joins ? sameCluster(known) : null;
    if (map != null && !logs && holdsReplicas(map, known.serverId())) {
      return replaced(known);
    }
    if (known.founded() && !logs) {
      throw new StartFailure(
          ("the logs of server %s are gone from %s/raft: under its id it must not vote without them."
                  + " If other servers of the cluster live, start it with --join HOST:PORT: it comes"
                  + " back as a new one. Otherwise restore the data directory from a backup")
              .formatted(known.serverId(), config.dataDir()));
    }
    return known;
  }

  private Identity founder() {
    return new Identity(DataDirectory.newId(), DataDirectory.newId(), config.shards(), true, false);
  }

  private Identity joiner() {
    String id = DataDirectory.newId();
    ClusterMap map = join(id, "", "");
    return new Identity(id, map.getClusterId(), map.getShardCount(), false, false);
  }

  private Identity replaced(Identity former) {
    String id = DataDirectory.newId();
    ClusterMap unused = join(id, former.clusterId(), former.serverId());
    Identity fresh = new Identity(id, former.clusterId(), unused.getShardCount(), false, false);
    data.identify(fresh);
    log.warn(
        "the logs of server {} are gone: it goes on as server {}, a new member in its place",
        former.serverId(),
        id);
    return fresh;
  }

  private static boolean holdsReplicas(ClusterMap map, String serverId) {
    return map.getShardsList().stream().anyMatch(s -> s.getReplicasList().contains(serverId));
  }

  private ClusterMap join(String serverId, String clusterId, String former) {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(JOIN_PATIENCE_SECONDS);
    while (true) {
      try {
        return far.replace(serverOf.apply(serverId), clusterId, former);
      } catch (Refusal e) {
        if (e.reason() != Reason.UNAVAILABLE || System.nanoTime() > deadline) {
          throw new StartFailure("can't join " + config.join() + ": " + e.text());
        }
        log.info("joining {}: {}; trying on", config.join(), e.text());
        LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(500));
      }
    }
  }

  /** A restart with --join: the others may be down, but must not be another cluster. */
  private @Nullable ClusterMap sameCluster(Identity identity) {
    try {
      return far.join(serverOf.apply(identity.serverId()), identity.clusterId());
    } catch (Refusal e) {
      if (e.reason() == Reason.CLUSTER_MISMATCH) {
        throw new StartFailure(
            "the data directory %s is of another cluster: %s"
                .formatted(config.dataDir(), e.text()));
      }
      log.info("{}: no word from it yet: {}", config.join(), e.text());
      return null;
    }
  }
}
