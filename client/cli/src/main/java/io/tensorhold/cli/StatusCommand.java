package io.tensorhold.cli;

import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TrainingView;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.proto.v1.ServerStatus;
import io.tensorhold.proto.v1.Shard;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Shows the cluster. */
@Command(
    name = "status",
    mixinStandardHelpOptions = true,
    description =
        "Show servers, shards and leaders. Exit status 1: a server does not answer, a shard has no leader, or its"
            + " replicas differ and no majority agrees.",
    footer = {"", "Example: tensorhold status --checksums"})
final class StatusCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Option(
      names = "--checksums",
      description = "Compare the replicas of each shard; reads every block.")
  private boolean checksums;

  @Override
  public Integer call() {
    try (TensorholdClient client = globals.connect()) {
      ClusterMap map = client.map();
      Map<String, ServerStatus> servers = client.status(checksums);
      List<Map<String, Object>> shards = shards(map, servers);
      boolean healthy =
          servers.size() == map.getServersCount()
              && shards.stream()
                  .noneMatch(s -> s.get("leader").equals("") || !s.get("difference").equals(""));
      Map<String, Object> document = new LinkedHashMap<>();
      document.put("cluster", map.getClusterId());
      document.put("healthy", healthy);
      document.put("replication", map.getReplication());
      document.put("catalog_leader", map.getCatalogLeader());
      document.put("servers", servers(map, servers));
      document.put("shards", shards);
      TrainingView training = client.training(null);
      List<Map<String, Object>> trained = new ArrayList<>();
      Map<Long, String> names = TrainingText.models(client, training);
      names.forEach(
          (id, name) -> {
            Map<String, Object> one = new LinkedHashMap<>(Map.of("model", name));
            one.putAll(TrainingText.document(id, training));
            trained.add(one);
          });
      document.put("training", trained);
      globals
          .output()
          .print(
              document,
              () -> {
                text(map, servers, shards);
                names.forEach(
                    (id, name) -> {
                      System.out.println();
                      Output.line("model %s:", name);
                      TrainingText.print(id, training);
                    });
              });
      return healthy ? 0 : 1;
    }
  }

  private static List<Map<String, Object>> servers(
      ClusterMap map, Map<String, ServerStatus> answers) {
    List<Map<String, Object>> list = new ArrayList<>();
    for (Server server : map.getServersList()) {
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("id", server.getId());
      entry.put("address", server.getAddress());
      ServerStatus status = answers.get(server.getId());
      entry.put("up", status != null);
      if (status != null) {
        entry.put("uptime_seconds", status.getUptimeSeconds());
        entry.put("resident_bytes", status.getResidentBytes());
        entry.put("memory_tier_bytes", status.getMemoryTierBytes());
        entry.put("rows_read", status.getRowsRead());
        entry.put("rows_from_disk", status.getRowsFromDisk());
        entry.put("memory_tier_budget", status.getMemoryTierBudget());
        entry.put("rocksdb_bytes", status.getRocksdbBytes());
        entry.put("log_bytes", status.getLogBytes());
        entry.put("disk_free_bytes", status.getDiskFreeBytes());
        entry.put("disk_full", status.getDiskFull());
        entry.put("pulled_bytes", status.getPulledBytes());
        entry.put("step_wait_ms", status.getStepWaitMs());
        entry.put("follower_pulled_bytes", status.getFollowerPulledBytes());
        entry.put("pushed_bytes", status.getPushedBytes());
        entry.put("pushed_decoded_bytes", status.getPushedDecodedBytes());
      }
      list.add(entry);
    }
    return list;
  }

  private List<Map<String, Object>> shards(ClusterMap map, Map<String, ServerStatus> servers) {
    List<Map<String, Object>> list = new ArrayList<>();
    for (Shard shard : map.getShardsList()) {
      Map<String, Long> applied = new TreeMap<>();
      Map<String, String> sums = new TreeMap<>();
      servers.forEach(
          (id, status) -> {
            for (ReplicaStatus replica : status.getReplicasList()) {
              if (replica.getShard() == shard.getShard()) {
                applied.put(id, replica.getAppliedIndex());
                sums.put(id, Long.toHexString(replica.getChecksum()));
              }
            }
          });
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("shard", shard.getShard());
      entry.put("leader", shard.getLeader());
      entry.put("term", shard.getTerm());
      entry.put("applied", applied);
      entry.put("difference", difference(shard, servers));
      if (checksums) {
        entry.put("checksums", sums);
      }
      list.add(entry);
    }
    return list;
  }

  private static String difference(Shard shard, Map<String, ServerStatus> servers) {
    ServerStatus leader = servers.get(shard.getLeader());
    return leader == null
        ? ""
        : leader.getReplicasList().stream()
            .filter(replica -> replica.getShard() == shard.getShard())
            .map(ReplicaStatus::getDifference)
            .findFirst()
            .orElse("");
  }

  private void text(
      ClusterMap map, Map<String, ServerStatus> answers, List<Map<String, Object>> shards) {
    Output.line(
        "cluster %s: %d servers, %d shards, replication %d, catalog led by %s",
        map.getClusterId(),
        map.getServersCount(),
        map.getShardCount(),
        map.getReplication(),
        map.getCatalogLeader().isEmpty() ? "nobody" : map.getCatalogLeader());
    System.out.println();
    List<List<String>> rows = new ArrayList<>();
    for (Server server : map.getServersList()) {
      ServerStatus s = answers.get(server.getId());
      rows.add(
          s == null
              ? List.of(server.getId(), server.getAddress(), "DOWN", "", "", "", "", "", "")
              : List.of(
                  server.getId(),
                  server.getAddress(),
                  s.getDiskFull() ? "DISK FULL" : "up",
                  String.valueOf(
                      map.getShardsList().stream()
                          .filter(shard -> shard.getLeader().equals(server.getId()))
                          .count()),
                  Output.bytes(s.getResidentBytes()),
                  Output.bytes(s.getMemoryTierBytes()),
                  Output.bytes(s.getRocksdbBytes()),
                  Output.bytes(s.getLogBytes()),
                  Output.bytes(s.getDiskFreeBytes())));
    }
    Output.table(
        List.of(
            "SERVER", "ADDRESS", "STATE", "LEADS", "RESIDENT", "BLOCKS", "ROCKSDB", "LOG", "FREE"),
        rows);
    System.out.println();
    List<List<String>> shardRows = new ArrayList<>();
    for (Map<String, Object> shard : shards) {
      String leader = String.valueOf(shard.get("leader"));
      shardRows.add(
          List.of(
              String.valueOf(shard.get("shard")),
              leader.isEmpty() ? "NONE" : leader,
              String.valueOf(shard.get("term")),
              String.valueOf(shard.get("applied")),
              checksums ? String.valueOf(shard.get("checksums")) : ""));
    }
    Output.table(
        List.of("SHARD", "LEADER", "TERM", "APPLIED", checksums ? "CHECKSUMS" : ""), shardRows);
    for (Map<String, Object> shard : shards) {
      if (!shard.get("difference").equals("")) {
        Output.line("shard %s: replicas differ: %s", shard.get("shard"), shard.get("difference"));
      }
    }
  }
}
