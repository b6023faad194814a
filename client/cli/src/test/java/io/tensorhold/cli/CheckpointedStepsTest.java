package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.Server;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;

/** Workers of a CHECKPOINTED model, whose steps live in the leader's memory between checkpoints. */
@Timeout(300)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class CheckpointedStepsTest {
  private static final int ELEMENTS = 1000; // four blocks on two shards

  private final DemoProcesses processes;
  private TensorholdClient client;

  CheckpointedStepsTest() throws IOException {
    processes = new DemoProcesses();
  }

  @BeforeAll
  void start() throws IOException {
    processes.startServers(3, "--shards=2", "--memory.budget=64MiB");
    client = Replicas.connect(processes);
    Replicas.until("three replicas", () -> Replicas.placed(client));
  }

  @AfterAll
  void stop() {
    client.close();
    processes.close();
  }

  private ModelHandle create(String name) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName(name)
            .setDurability(Durability.CHECKPOINTED)
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("w")
                    .setDtype(DType.F32)
                    .addDims(ELEMENTS)
                    .setBlockElements(256));
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 1);
    ModelHandle model = client.create(spec.build());
    assertThat(model.model().getSpec().getDurability()).isEqualTo(Durability.CHECKPOINTED);
    return model;
  }

  private Worker join(ModelHandle model) {
    return client.joinModel(model.name(), new JoinOptions(0, 0));
  }

  private static void step(Worker worker, long step) {
    float[] ones = new float[ELEMENTS];
    Arrays.fill(ones, 1);
    worker.step(step, Map.of(worker.model().parameter("w"), MemorySegment.ofArray(ones))).join();
  }

  private float[] weights(ModelHandle model) {
    return client.pullFloats(model.parameter("w"));
  }

  private int leaderOf(int shard) {
    ClusterMap map = client.map();
    String address =
        map.getServersList().stream()
            .filter(server -> server.getId().equals(map.getShards(shard).getLeader()))
            .map(Server::getAddress)
            .findFirst()
            .orElseThrow();
    return IntStream.range(0, 3)
        .filter(i -> processes.address(i).equals(address))
        .findFirst()
        .orElseThrow();
  }

  private static String lost(Worker worker, long step) {
    Throwable thrown = catchThrowable(() -> step(worker, step));
    assertThat(thrown).isInstanceOf(CompletionException.class);
    assertThat(thrown.getCause())
        .isInstanceOfSatisfying(
            TensorholdException.class, e -> assertThat(e.reason()).isEqualTo("OVERLAY_LOST"));
    return String.valueOf(thrown.getCause().getMessage());
  }

  @Test
  void workerGoesOnAfterTheStepThatSurvivedItsLeader() throws Exception {
    ModelHandle model = create("survives");
    try (Worker first = join(model)) {
      for (int step = 1; step <= 5; step++) {
        step(first, step);
      }
      assertThat(client.checkpoint(model).blocks()).isEqualTo(4);
      for (int step = 6; step <= 8; step++) {
        step(first, step);
      }
      first.abandon();
    }
    try (Worker second = join(model)) {
      assertThat(second.lastStep()).as("nothing is lost while the leaders live").isEqualTo(8);
      step(second, 9);
      assertThat(weights(model)).containsOnly(-9f);

      int killed = leaderOf(0);
      processes.kill(killed);
      assertThat(lost(second, 10)).contains("step 5 of rank 0 survived here");
      second.abandon();
      try (Worker third = join(model)) {
        assertThat(third.lastStep()).isEqualTo(5);
        for (int step = 6; step <= 10; step++) {
          step(third, step);
        }
        assertThat(weights(model)).containsOnly(-10f);
        client.checkpoint(model);
      }
      processes.restart(killed, "--shards=2", "--memory.budget=64MiB");
    }
    Replicas.until("all servers", () -> client.status(false).size() == 3);
    Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
    try (Worker last = join(model)) {
      assertThat(last.lastStep()).isEqualTo(10);
    }
  }

  @Test
  void formerSelfOfAWorkerIsFencedAndARepeatedStepIsNotMadeTwice() {
    ModelHandle model = create("fenced");
    Worker former = join(model);
    step(former, 1);
    try (Worker worker = join(model)) {
      assertThat(worker.lastStep()).isEqualTo(1);
      Throwable thrown = catchThrowable(() -> step(former, 2));
      assertThat(thrown.getCause())
          .isInstanceOfSatisfying(
              TensorholdException.class, e -> assertThat(e.reason()).isEqualTo("SESSION_EXPIRED"));
      step(worker, 1);
      step(worker, 2);
      assertThat(weights(model)).containsOnly(-2f);
    }
    former.abandon();
  }
}
