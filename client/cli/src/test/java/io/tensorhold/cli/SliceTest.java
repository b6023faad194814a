package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;

/** Slices and checkpoints through the SDK, against a plain array. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class SliceTest {
  private static final int[] DIMS = {7, 11, 13};
  private LocalServer server;
  private TensorholdClient client;

  @BeforeAll
  void start(@TempDir Path data) throws Exception {
    server = new LocalServer(data, "32MiB");
    client = server.connect();
  }

  @AfterAll
  void stop() {
    client.close();
    server.close();
  }

  private Parameter tensor(String name, Durability durability) {
    ParameterSpec.Builder spec =
        ParameterSpec.newBuilder().setName("t").setDtype(DType.F32).setBlockElements(256);
    for (int dim : DIMS) {
      spec.addDims(dim);
    }
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName(name)
                .setDurability(durability)
                .addParameters(spec)
                .build());
    return model.parameter("t");
  }

  @Test
  void slicesAreTheSameAsInAPlainArray() {
    Random random = new Random(3);
    Parameter parameter = tensor("slices", Durability.LOGGED);
    float[] mirror = new float[DIMS[0] * DIMS[1] * DIMS[2]];
    try (Session session = client.openSession("slices")) {
      for (int round = 0; round < 60; round++) {
        long[] from = new long[3];
        long[] to = new long[3];
        for (int d = 0; d < 3; d++) {
          from[d] = random.nextInt(DIMS[d]);
          to[d] = from[d] + 1 + random.nextInt((int) (DIMS[d] - from[d]));
        }
        Slice slice = Slice.of(parameter.shape(), from, to);
        float[] values = new float[(int) slice.elements()];
        boolean add = random.nextBoolean();
        int at = 0;
        for (int i = (int) from[0]; i < to[0]; i++) {
          for (int j = (int) from[1]; j < to[1]; j++) {
            for (int k = (int) from[2]; k < to[2]; k++) {
              int flat = (i * DIMS[1] + j) * DIMS[2] + k;
              values[at] = random.nextInt(100);
              mirror[flat] = add ? mirror[flat] + values[at] : values[at];
              at++;
            }
          }
        }
        session
            .push(
                parameter,
                slice,
                add ? Operation.ADD : Operation.ASSIGN,
                Codec.F32,
                MemorySegment.ofArray(values))
            .join();
        float[] back = new float[values.length];
        client.pull(parameter, slice, Codec.F32, MemorySegment.ofArray(back));
        at = 0;
        for (int i = (int) from[0]; i < to[0]; i++) {
          for (int j = (int) from[1]; j < to[1]; j++) {
            for (int k = (int) from[2]; k < to[2]; k++) {
              assertThat(back[at++]).isEqualTo(mirror[(i * DIMS[1] + j) * DIMS[2] + k]);
            }
          }
        }
      }
      assertThat(client.pullFloats(parameter)).isEqualTo(mirror);
    }
  }

  @Test
  void checkpointedPushesAreReadAtOnceAndLoggedAtTheCheckpoint() {
    Parameter parameter = tensor("checkpointed", Durability.CHECKPOINTED);
    float[] ones = new float[(int) parameter.elements()];
    java.util.Arrays.fill(ones, 1);
    try (Session session = client.openSession("checkpointed")) {
      for (int i = 0; i < 3; i++) {
        assertThat(
                session
                    .push(parameter, Operation.ADD, Codec.F32, MemorySegment.ofArray(ones))
                    .join()
                    .maxLogIndex())
            .isZero();
      }
      assertThat(client.pullFloats(parameter)).containsOnly(3);
      assertThat(client.checkpoint(parameter.model()).blocks()).isEqualTo(parameter.blocks());
      assertThat(client.checkpoint(parameter.model()).blocks()).isZero();
      assertThat(client.pullFloats(parameter)).containsOnly(3);
      session.push(parameter, Operation.ADD, Codec.F32, MemorySegment.ofArray(ones)).join();
      assertThat(client.pullFloats(parameter)).containsOnly(4);
    }
  }
}
