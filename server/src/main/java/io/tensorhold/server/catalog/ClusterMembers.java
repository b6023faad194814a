package io.tensorhold.server.catalog;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.proto.v1.Shard;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogSnapshot;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;

/** The catalog's part that says which servers there are, and which of them hold the shards. */
final class ClusterMembers {
  private String clusterId = "";
  private int shardCount;
  private int replication;
  private final TreeMap<String, Server> servers = new TreeMap<>();
  private final List<String> replicas = new ArrayList<>();

  /** Index of the command that changed any of it last. */
  private long epoch;

  /** Begins a cluster; a second time changes nothing. */
  void found(CatalogCommand.Found found, long index) {
    if (clusterId.isEmpty()) {
      clusterId = found.getClusterId();
      shardCount = found.getShardCount();
      replication = found.getReplication();
      servers.put(found.getServer().getId(), found.getServer());
      replicas.add(found.getServer().getId());
      epoch = index;
    }
  }

  /** These servers hold the shards from now on. */
  void place(List<String> holders, long index) {
    replicas.clear();
    replicas.addAll(holders);
    epoch = index;
  }

  /** Takes a server in, or notes its new addresses. */
  void join(Server server, long index) {
    for (Server other : servers.values()) {
      if (!other.getId().equals(server.getId())
          && (other.getAddress().equals(server.getAddress())
              || other.getRaftAddress().equals(server.getRaftAddress()))) {
        throw new Refusal(
            Reason.CLUSTER_MISMATCH,
            "server %s already has the address %s or %s"
                .formatted(other.getId(), server.getAddress(), server.getRaftAddress()),
            "value",
            server.getAddress());
      }
    }
    if (!server.equals(servers.put(server.getId(), server))) {
      epoch = index;
    }
  }

  /** A server takes the place of another, in every shard too. */
  void replace(String former, Server server, long index) {
    servers.remove(former);
    join(server, index);
    replicas.replaceAll(id -> id.equals(former) ? server.getId() : id);
    epoch = index;
  }

  /**
   * Takes a server out.
   *
   * @throws Refusal REQUEST_INVALID if there is none, or it holds the only replicas
   */
  void remove(String id, long index) {
    if (!servers.containsKey(id)) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "no server has the id %s; there are %s".formatted(id, servers.keySet()),
          "value",
          id);
    }
    if (replicas.equals(List.of(id))) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "server %s holds the only replica of every shard: it can't be removed".formatted(id),
          "value",
          id);
    }
    servers.remove(id);
    replicas.remove(id);
    epoch = index;
  }

  /** As clients see it, without leaders. */
  ClusterMap map() {
    ClusterMap.Builder map =
        ClusterMap.newBuilder()
            .setClusterId(clusterId)
            .setEpoch(epoch)
            .setShardCount(shardCount)
            .setReplication(replication)
            .addAllServers(servers.values());
    for (int shard = 0; shard < shardCount; shard++) {
      map.addShards(Shard.newBuilder().setShard(shard).addAllReplicas(replicas));
    }
    return map.build();
  }

  void write(CatalogSnapshot.Builder snapshot) {
    snapshot
        .setClusterId(clusterId)
        .setShardCount(shardCount)
        .setReplication(replication)
        .addAllServers(servers.values())
        .addAllReplicas(replicas)
        .setEpoch(epoch);
  }

  void restore(CatalogSnapshot snapshot) {
    clusterId = snapshot.getClusterId();
    shardCount = snapshot.getShardCount();
    replication = snapshot.getReplication();
    servers.clear();
    snapshot.getServersList().forEach(server -> servers.put(server.getId(), server));
    replicas.clear();
    replicas.addAll(snapshot.getReplicasList());
    epoch = snapshot.getEpoch();
  }
}
