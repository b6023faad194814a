package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.PushResult;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Pushes over several shards that one of them would refuse: none applies its part. */
@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class WholePushTest {
  private static final int ELEMENTS = 20 * 256; // on all four shards

  private LocalServer server;
  private TensorholdClient client;
  private ModelHandle model;

  @BeforeAll
  void start(@TempDir Path data) throws Exception {
    server = new LocalServer(data, "64MiB");
    client = server.connect();
    ModelSpec.Builder spec = ModelSpec.newBuilder().setName("m");
    for (String name : new String[] {"w", "frozen"}) {
      spec.addParametersBuilder()
          .setName(name)
          .setDtype(DType.F32)
          .addDims(ELEMENTS)
          .setBlockElements(256);
    }
    spec.getParametersBuilder(1).getOptimizerBuilder().setKind("none");
    spec.addParameters(ParameterSpec.newBuilder().setName("ids").setDtype(DType.I64).addDims(4096));
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 1);
    model = client.create(spec.build());
  }

  @AfterAll
  void stop() {
    client.close();
    server.close();
  }

  private static void refused(CompletableFuture<PushResult> push, String reason, String text) {
    Throwable thrown = catchThrowable(push::join);
    assertThat(thrown).isInstanceOf(CompletionException.class).hasMessageContaining(text);
    assertThat(thrown.getCause())
        .isInstanceOfSatisfying(
            TensorholdException.class, e -> assertThat(e.reason()).isEqualTo(reason));
  }

  private void nothingWasApplied() {
    assertThat(client.pullFloats(model.parameter("w"))).containsOnly(0);
    assertThat(client.pullFloats(model.parameter("frozen"))).containsOnly(0);
  }

  private static float[] ones() {
    float[] values = new float[ELEMENTS];
    Arrays.fill(values, 1);
    return values;
  }

  @Test
  void valueThatIsNotFiniteInTheLastBlockRefusesThePushWhole() {
    float[] values = ones();
    values[ELEMENTS - 3] = Float.NaN;
    MemorySegment bytes = MemorySegment.ofArray(values);
    Parameter w = model.parameter("w");
    try (Session session = client.openSession("whole")) {
      refused(session.push(w, Operation.ASSIGN, Codec.F32, bytes), "NONFINITE", "value 253 ");
      Slice slice = Slice.parse("1:", w.shape());
      refused(
          session.push(w, slice, Operation.ADD, Codec.F32, bytes.asSlice(4)),
          "NONFINITE",
          "block 19 of w");
    }
    nothingWasApplied();
  }

  @Test
  void stepWithATensorThatIsNotTrainedIsRefusedWholeAndMayBeSentAnew() {
    Parameter w = model.parameter("w");
    try (Worker worker = client.joinModel("m", new JoinOptions(0, 0))) {
      MemorySegment bytes = MemorySegment.ofArray(ones());
      refused(
          worker.step(1, Map.of(w, bytes, model.parameter("frozen"), bytes)),
          "OPTIMIZER_INVALID",
          "frozen has no optimizer");
      nothingWasApplied();
      worker.step(1, Map.of(w, bytes)).join();
      assertThat(client.pullFloats(w)).containsOnly(-1);
      float[] back = ones();
      try (Session session = client.openSession("back")) {
        session.push(w, Operation.ADD, Codec.F32, MemorySegment.ofArray(back)).join();
      }
    }
  }

  @Test
  void tensorThatIsNotComputedWithTakesNoSum() {
    try (Session session = client.openSession("ids")) {
      MemorySegment ids = MemorySegment.ofArray(new long[4096]);
      refused(
          session.push(model.parameter("ids"), Operation.ADD, Codec.RAW, ids),
          "CODEC_INVALID",
          "use ASSIGN instead of ADD");
    }
  }
}
