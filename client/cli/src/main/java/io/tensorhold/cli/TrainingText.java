package io.tensorhold.cli;

import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TrainingView;
import io.tensorhold.proto.v1.ListModelsResponse;
import io.tensorhold.proto.v1.WorkerSession;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Workers of a model and what its steps wait for, for people and as JSON. */
final class TrainingText {
  private TrainingText() {}

  /** Names of the models that have workers now, by id. */
  static Map<Long, String> models(TensorholdClient client, TrainingView training) {
    Map<Long, String> names = new TreeMap<>();
    if (!training.sessions().isEmpty()) {
      for (ListModelsResponse.Entry model : client.list("", false)) {
        if (training.sessions().stream().anyMatch(s -> s.getModelId() == model.getId())) {
          names.put(model.getId(), model.getName());
        }
      }
    }
    return names;
  }

  static Map<String, Object> document(long model, TrainingView training) {
    List<Map<String, Object>> workers = new ArrayList<>();
    for (WorkerSession worker : of(model, training)) {
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("rank", worker.getRank());
      entry.put("label", worker.getLabel());
      entry.put("session", worker.getSession());
      entry.put("last_step", training.lastStep(model, worker.getRank()));
      entry.put("heartbeat_age_ms", worker.getHeartbeatAgeMs());
      entry.put("lease_ms", worker.getLeaseMs());
      workers.add(entry);
    }
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("workers", workers);
    document.put("waits", training.waits(model));
    return document;
  }

  static void print(long model, TrainingView training) {
    List<WorkerSession> workers = of(model, training);
    if (workers.isEmpty() && training.waits(model).isEmpty()) {
      return;
    }
    System.out.println();
    List<List<String>> rows = new ArrayList<>();
    for (WorkerSession worker : workers) {
      rows.add(
          List.of(
              String.valueOf(worker.getRank()),
              worker.getLabel(),
              Long.toUnsignedString(worker.getSession()),
              Output.count(training.lastStep(model, worker.getRank())),
              "%.1f s of %.1f"
                  .formatted(worker.getHeartbeatAgeMs() / 1e3, worker.getLeaseMs() / 1e3)));
    }
    Output.table(List.of("RANK", "WORKER", "SESSION", "LAST STEP", "HEARTBEAT AGE"), rows);
    training.waits(model).forEach(line -> Output.line("%s", line));
  }

  private static List<WorkerSession> of(long model, TrainingView training) {
    return training.sessions().stream()
        .filter(s -> s.getModelId() == model)
        .sorted((a, b) -> Integer.compare(a.getRank(), b.getRank()))
        .toList();
  }
}
