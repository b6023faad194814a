package io.tensorhold.client;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.GetTrainingStatusRequest;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.proto.v1.ShardSteps;
import io.tensorhold.proto.v1.StepWait;
import io.tensorhold.proto.v1.TrainingGrpc;
import io.tensorhold.proto.v1.TrainingStatus;
import io.tensorhold.proto.v1.WorkerSession;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Who trains, and how far each has come, as the servers say that answer.
 *
 * @param sessions live workers; empty if the catalog's leader did not answer
 * @param shards their steps on every shard whose leader answered
 */
public record TrainingView(List<WorkerSession> sessions, List<ShardSteps> shards) {
  private static final int SECONDS = 3;

  static TrainingView ask(ClusterConnection cluster, ClusterMap map, long modelId) {
    GetTrainingStatusRequest request =
        GetTrainingStatusRequest.newBuilder().setModelId(modelId).build();
    List<CompletableFuture<TrainingStatus>> asked = new ArrayList<>();
    for (Server server : map.getServersList()) {
      asked.add(
          CompletableFuture.supplyAsync(
                  () ->
                      TrainingGrpc.newBlockingStub(cluster.channel(server.getAddress()))
                          .withDeadlineAfter(SECONDS, TimeUnit.SECONDS)
                          .getTrainingStatus(request),
                  cluster.executor())
              .exceptionally(gone -> TrainingStatus.getDefaultInstance()));
    }
    List<WorkerSession> sessions = new ArrayList<>();
    List<ShardSteps> shards = new ArrayList<>();
    for (CompletableFuture<TrainingStatus> answer : asked) {
      TrainingStatus status = answer.join();
      if (sessions.isEmpty()) {
        sessions.addAll(status.getSessionsList());
      }
      shards.addAll(status.getShardsList());
    }
    return new TrainingView(sessions, shards);
  }

  /** The least step that a rank of a model has made on all shards that have seen it. */
  public long lastStep(long modelId, int rank) {
    return shards.stream()
        .filter(shard -> shard.getModelId() == modelId)
        .flatMap(shard -> shard.getRanksList().stream())
        .filter(steps -> steps.getRank() == rank)
        .mapToLong(steps -> steps.getLastStep())
        .min()
        .orElse(0);
  }

  /**
   * What waits, a line for each step of a model: the ranks that are missing, with the labels of
   * their workers, and the shards.
   */
  public List<String> waits(long modelId) {
    Map<Long, TreeSet<Integer>> missing = new TreeMap<>();
    Map<Long, TreeSet<Integer>> where = new TreeMap<>();
    Map<Long, Long> age = new TreeMap<>();
    for (ShardSteps shard : shards) {
      for (StepWait wait :
          shard.getModelId() == modelId ? shard.getWaitsList() : List.<StepWait>of()) {
        missing.computeIfAbsent(wait.getStep(), s -> new TreeSet<>()).addAll(wait.getMissingList());
        where.computeIfAbsent(wait.getStep(), s -> new TreeSet<>()).add(shard.getShard());
        age.merge(wait.getStep(), wait.getAgeMs(), Math::max);
      }
    }
    List<String> lines = new ArrayList<>();
    missing.forEach(
        (step, ranks) ->
            lines.add(
                "step %d waits since %d ms for %s on shard %s"
                    .formatted(
                        step,
                        age.get(step),
                        String.join(", ", ranks.stream().map(r -> who(modelId, r)).toList()),
                        Objects.requireNonNull(where.get(step))
                            .toString()
                            .replaceAll("[\\[\\]]", ""))));
    return lines;
  }

  private String who(long modelId, int rank) {
    for (WorkerSession session : sessions) {
      if (session.getModelId() == modelId && session.getRank() == rank) {
        return "rank %d (%s, heard of %d ms ago)"
            .formatted(rank, session.getLabel(), session.getHeartbeatAgeMs());
      }
    }
    return "rank %d (no live session)".formatted(rank);
  }
}
