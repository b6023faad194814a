package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.proto.v1.ServerStatus;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** What tests of three servers wait for. */
final class Replicas {
  private Replicas() {}

  static TensorholdClient connect(DemoProcesses processes) {
    return TensorholdClient.connect(
        new ClientOptions(List.of(processes.servers().split(",", -1)))
            .withDeadline(Duration.ofSeconds(60)));
  }

  static void until(String what, BooleanSupplier condition) {
    long deadline = System.nanoTime() + Duration.ofSeconds(90).toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("waiting for %s", what).isLessThan(deadline);
      LockSupport.parkNanos(10_000_000);
    }
  }

  static boolean placed(TensorholdClient client) {
    try {
      ClusterMap map = client.map();
      return map.getServersCount() == 3
          && map.getShardsList().stream()
              .allMatch(s -> s.getReplicasCount() == 3 && !s.getLeader().isEmpty())
          && client.status(false).values().stream()
                  .flatMap(s -> s.getReplicasList().stream())
                  .filter(r -> r.getMembersCount() == 3)
                  .count()
              == 3L * map.getShardCount();
    } catch (TensorholdException e) {
      return false;
    }
  }

  static boolean caughtUp(TensorholdClient client) {
    Map<Integer, long[]> range = new HashMap<>();
    int[] replicas = {0};
    for (ServerStatus server : client.status(false).values()) {
      for (ReplicaStatus r : server.getReplicasList()) {
        long[] ends = range.computeIfAbsent(r.getShard(), s -> new long[] {Long.MAX_VALUE, 0});
        ends[0] = Math.min(ends[0], r.getAppliedIndex());
        ends[1] = Math.max(ends[1], r.getAppliedIndex());
        replicas[0]++;
      }
    }
    return replicas[0] == 3 * client.map().getShardCount()
        && range.values().stream().allMatch(e -> e[1] - e[0] < 500);
  }

  static boolean checksumsAgree(TensorholdClient client) {
    Map<Integer, Set<String>> states = new HashMap<>();
    Map<String, ServerStatus> servers = client.status(true);
    for (ServerStatus server : servers.values()) {
      for (ReplicaStatus r : server.getReplicasList()) {
        states
            .computeIfAbsent(r.getShard(), s -> new HashSet<>())
            .add(r.getAppliedIndex() + "/" + r.getChecksum());
      }
    }
    return servers.size() == 3 && states.values().stream().allMatch(s -> s.size() == 1);
  }
}
