package io.tensorhold.cli;

import static io.tensorhold.cli.NormsJob.LIMIT;
import static io.tensorhold.cli.NormsJob.LR;
import static io.tensorhold.cli.NormsJob.NAMES;
import static io.tensorhold.cli.NormsJob.SIZES;
import static io.tensorhold.cli.NormsJob.gradient;
import static io.tensorhold.cli.NormsJob.gradients;
import static io.tensorhold.cli.NormsJob.model;
import static io.tensorhold.cli.NormsJob.random;
import static io.tensorhold.cli.NormsJob.spec;
import static io.tensorhold.cli.NormsJob.weights;
import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.PushResult;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.StepFactors;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Factors of a step past the SDK: pushed in pieces by a worker of the test, which dies or whose
 * server does between measuring a step and making it.
 */
@Timeout(240)
class StepFactorsTest {
  /** A worker past the SDK: each shard's part of step 1. */
  private static PushHeader.Builder header(Worker worker, int shard, long seq, long step) {
    PushHeader.Builder header =
        PushHeader.newBuilder()
            .setSession(worker.session().id())
            .setSeq(seq)
            .setAckedBelow(1)
            .setModelId(worker.model().id())
            .setShard(shard)
            .setOperation(Operation.GRADIENT)
            .setStep(step)
            .setRank(worker.rank());
    payload(worker, shard, step, header);
    return header;
  }

  private static ByteBuffer payload(
      Worker worker, int shard, long step, PushHeader.Builder header) {
    ByteBuffer payload = ByteBuffer.allocate(4 * 2200).order(ByteOrder.LITTLE_ENDIAN);
    header.clearBlocks();
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      Parameter parameter = worker.model().parameter(NAMES.get(tensor));
      float[] values = gradient(tensor, worker.rank(), step);
      for (int block = 0; block < parameter.blocks(); block++) {
        if (ShardHash.shard(parameter.id(), block, 4) == shard) {
          int begin = payload.position();
          int elements = parameter.elementsIn(block);
          for (int i = 0; i < elements; i++) {
            payload.putFloat(values[256 * block + i]);
          }
          MemorySegment bytes = MemorySegment.ofBuffer(payload.slice(begin, 4 * elements));
          header
              .addBlocksBuilder()
              .setParameterId(parameter.id())
              .setBlock(block)
              .setCodec(io.tensorhold.proto.v1.Codec.CODEC_F32)
              .setPayloadBytes(4 * elements)
              .setCrc32C(Crc32c.of(bytes))
              .setHasCrc(true);
        }
      }
    }
    return payload.flip();
  }

  private static PushResponse whole(String address, Worker worker, int shard, long seq) {
    PushHeader.Builder header = header(worker, shard, seq, 1);
    return StepPieces.send(address, header.build(), payload(worker, shard, 1, header));
  }

  private static PushResponse bring(
      String address, Worker worker, int shard, long seq, float scale) {
    PushHeader.Builder header = header(worker, shard, seq, 1).setWithoutPayload(true);
    header.getFactorsBuilder().setGradientScale(scale);
    return StepPieces.send(address, header.build(), ByteBuffer.allocate(0));
  }

  private static String reason(PushResponse response) {
    return response.hasError() ? TensorholdException.of(response.getError()).reason() : "";
  }

  private static ModelSpec clipped(String name) {
    ModelSpec.Builder spec = spec(name, "sgd", Consistency.BSP).setWorkers(1);
    spec.getOptimizerBuilder().setClipNorm(LIMIT);
    return spec.build();
  }

  /** A block of the model on each side of the cut, moved by step 1 under a scale. */
  private static void assertStepped(TensorholdClient client, String name, float scale) {
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      float[] start = random(tensor, SIZES[tensor], 1);
      float[] g = gradient(tensor, 0, 1);
      float[] w = weights(client, name).get(tensor);
      for (int i = 0; i < w.length; i++) {
        assertThat((double) w[i])
            .isCloseTo(start[i] - LR * scale * g[i], org.assertj.core.data.Offset.offset(1e-6));
      }
    }
  }

  @Test
  void factorsThatOneShardHasLoggedAreThoseOfTheOthersThoughAllWorkersDied(@TempDir Path folder)
      throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      ModelHandle model = model(client, clipped("m"));
      Worker dead = client.joinModel("m", new JoinOptions(0, 1));
      // It has measured its step everywhere, and brings one shard factors of its own making.
      for (int shard = 0; shard < 4; shard++) {
        assertThat(whole(server.address(), dead, shard, 10 + shard).hasSums()).isTrue();
      }
      int made = ShardHash.shard(model.parameter("b").id(), 1, 4);
      PushResponse first = bring(server.address(), dead, made, 20, 0.25f);
      assertThat(first.getFactors()).isEqualTo(factors(0.25f));
      assertThat(first.getDuplicate()).isFalse();

      // Other ones afterwards change nothing; the answer says which count.
      PushResponse other = bring(server.address(), dead, made, 21, 0.5f);
      assertThat(other.getDuplicate()).isTrue();
      assertThat(other.getFactors()).isEqualTo(factors(0.25f));
      dead.abandon();

      try (Worker again = client.joinModel("m", new JoinOptions(0, 1))) {
        assertThat(again.lastStep()).isZero();
        PushResult result = again.step(1, gradients(again.model(), 0, 1)).join();
        assertThat(result.duplicates()).isEqualTo(1);
      }
      assertStepped(client, "m", 0.25f);
    }
  }

  private static StepFactors factors(float scale) {
    return StepFactors.newBuilder().setGradientScale(scale).build();
  }

  @Test
  void leaderThatDiesBetweenMeasuringAndTheFactorsIsSentTheStepAgain() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, "--shards=4", "--memory.budget=64MiB");
      try (TensorholdClient client = Replicas.connect(processes)) {
        model(client, clipped("m"));
        String address = processes.servers();
        Worker worker = client.joinModel("m", new JoinOptions(0, 1));
        List<PushResponse> before = new ArrayList<>();
        for (int shard = 0; shard < 4; shard++) {
          before.add(whole(address, worker, shard, 10 + shard));
        }
        processes.kill(0);
        processes.restart(0, "--memory.budget=64MiB");
        Replicas.until("a leader", () -> client.list("", false).size() == 1);
        Replicas.until(
            "the step to be unknown",
            () -> reason(bring(address, worker, 0, 20, 0.5f)).equals("STEP_UNKNOWN"));
        for (int shard = 0; shard < 4; shard++) {
          assertThat(whole(address, worker, shard, 30 + shard).getSums())
              .isEqualTo(before.get(shard).getSums());
        }
        // Under the SDK's numbers, the same push again: it is answered with its sums at once.
        worker.step(1, gradients(worker.model(), 0, 1)).join();
        worker.close();
        double squares = 0;
        for (int tensor = 0; tensor < SIZES.length; tensor++) {
          for (float x : gradient(tensor, 0, 1)) {
            squares += (double) x * x;
          }
        }
        assertStepped(client, "m", (float) (LIMIT / (Math.sqrt(squares) + 1e-6)));
      }
    }
  }

  @Test
  void factorsAreChecked(@TempDir Path folder) throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      model(client, clipped("m"));
      try (Worker worker = client.joinModel("m", new JoinOptions(0, 1))) {
        whole(server.address(), worker, 0, 10);
        for (float scale : new float[] {0, -1, 1.5f, Float.NaN}) {
          PushResponse wrong = bring(server.address(), worker, 0, 11, scale);
          assertThat(reason(wrong)).isEqualTo("OPTIMIZER_INVALID");
          assertThat(wrong.getError().getMessage()).contains("allowed=above 0, to 1");
        }
        PushHeader.Builder trust = header(worker, 0, 12, 1).setWithoutPayload(true);
        trust.getFactorsBuilder().setGradientScale(1).addTrust(1);
        assertThat(reason(StepPieces.send(server.address(), trust.build(), ByteBuffer.allocate(0))))
            .isEqualTo("OPTIMIZER_INVALID");
        PushHeader bare = header(worker, 0, 13, 1).setWithoutPayload(true).build();
        assertThat(reason(StepPieces.send(server.address(), bare, ByteBuffer.allocate(0))))
            .isEqualTo("REQUEST_INVALID");
        worker.step(1, gradients(worker.model(), 0, 1)).join();
      }
    }
  }
}
