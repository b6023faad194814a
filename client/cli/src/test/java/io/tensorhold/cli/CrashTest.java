package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.time.Duration;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Servers as processes, killed with -9 while pushes stream. */
@Timeout(300)
class CrashTest {
  private static final int ROUNDS = Integer.getInteger("tensorhold.crash.rounds", 8);
  private static final int ELEMENTS = 3000;

  private static ModelHandle counters(TensorholdClient client) {
    return client.create(
        ModelSpec.newBuilder()
            .setName("counters")
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("c")
                    .setDtype(DType.F32)
                    .addDims(ELEMENTS)
                    .setBlockElements(256))
            .build());
  }

  @Test
  void everyAcknowledgedPushIsThereOnceAfterKillsAtAnyMoment() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, "--memory.budget=64MiB", "--raft.flush-log-bytes=8MiB");
      try (TensorholdClient client = Replicas.connect(processes)) {
        Parameter counter = counters(client).parameter("c");
        PushStream stream = new PushStream(client, counter);
        for (int round = 0; round < ROUNDS; round++) {
          long before = stream.acked.get();
          long more = 1L + random.nextInt(200);
          Replicas.until("acknowledgements", () -> stream.acked.get() > before + more);
          processes.kill(0);
          processes.restart(0, "--memory.budget=64MiB", "--raft.flush-log-bytes=8MiB");
        }
        stream.close();
        float[] values = client.pullFloats(counter);
        assertThat(stream.acked.get()).isEqualTo(stream.sent.get());
        assertThat(values).as("seed %d", seed).containsOnly((float) stream.sent.get());
      }
    }
  }

  @Test
  void streamGoesOnWithinFiveSecondsOfItsLeadersDeath() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, "--memory.budget=64MiB");
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Parameter counter = counters(client).parameter("c");
        PushStream stream = new PushStream(client, counter);
        for (int victim = 0; victim < 3; victim++) {
          long before = stream.acked.get();
          Replicas.until("acknowledgements", () -> stream.acked.get() > before + 50);
          stream.longestGap.set(0);
          processes.kill(victim);
          long killed = stream.acked.get();
          Replicas.until("the stream to go on", () -> stream.acked.get() > killed + 50);
          assertThat(Duration.ofNanos(stream.longestGap.get())).isLessThan(Duration.ofSeconds(5));
          processes.restart(victim, "--memory.budget=64MiB");
          Replicas.until(
              "the replicas to agree on who is there", () -> client.status(false).size() == 3);
          Replicas.until("the killed server to catch up", () -> Replicas.caughtUp(client));
        }
        stream.close();
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
        Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
      }
    }
  }
}
