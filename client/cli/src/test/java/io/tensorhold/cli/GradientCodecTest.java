package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.assertj.core.api.Assertions.within;

import io.tensorhold.client.BlockPayload;
import io.tensorhold.client.DiLoCo;
import io.tensorhold.client.GradientCodec;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.ServerStatus;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Gradients in fewer bytes, what was left out of them, and DiLoCo, against a real server. */
@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class GradientCodecTest {
  private static final int ELEMENTS = 700; // three blocks of 256, the last one shorter

  private final Random random = new Random(11);
  private LocalServer server;
  private TensorholdClient client;
  private String name = "";
  private int models;

  @BeforeAll
  void start(@TempDir Path data) throws Exception {
    server = new LocalServer(data, "64MiB");
    client = server.connect();
  }

  @BeforeEach
  void next() {
    name = "g" + ++models;
  }

  @AfterAll
  void stop() throws Exception {
    client.close();
    server.close();
  }

  private static ParameterSpec tensor(String tensor, int codec) {
    return ParameterSpec.newBuilder()
        .setName(tensor)
        .setDtypeValue(DType.F32.id())
        .setCodecValue(codec)
        .addDims(ELEMENTS)
        .setBlockElements(256)
        .build();
  }

  /** A model whose step is w = w − mean of the gradients. */
  private ModelHandle create(Consistency consistency, int workers) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName(name)
            .setConsistency(consistency)
            .setWorkers(workers)
            .addParameters(tensor("w", 0))
            .addParameters(tensor("v", 0));
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 1);
    return client.create(spec.build());
  }

  private float[] gaussian() {
    float[] x = new float[ELEMENTS];
    for (int i = 0; i < x.length; i++) {
      x[i] = (float) random.nextGaussian();
    }
    return x;
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK"},
      mode = EnumSource.Mode.EXCLUDE)
  void aStepIsMadeOfTheDecodedGradients(Codec codec) {
    ModelHandle model = create(Consistency.BSP, 2);
    Parameter w = model.parameter("w");
    float[][] gradients = {gaussian(), gaussian()};
    float[] expected = new float[ELEMENTS];
    List<Worker> workers = List.of(client.joinModel(name, 0, 2), client.joinModel(name, 1, 2));
    CompletableFuture<?>[] steps = new CompletableFuture<?>[2];
    for (int rank = 0; rank < 2; rank++) {
      workers.get(rank).session().encodeGradients(GradientCodec.of(codec));
      MemorySegment g = MemorySegment.ofArray(gradients[rank]);
      steps[rank] = workers.get(rank).step(1, Map.of(w, g));
      float[] decoded = new float[ELEMENTS];
      byte[] coded = new byte[(int) codec.bytes(DType.F32, ELEMENTS)];
      MemorySegment bytes = MemorySegment.ofArray(coded);
      codec.encode(Kernels.scalar(), g, 0, bytes, 0, ELEMENTS);
      codec.decode(Kernels.scalar(), bytes, 0, MemorySegment.ofArray(decoded), 0, ELEMENTS);
      for (int i = 0; i < ELEMENTS; i++) {
        expected[i] += decoded[i];
      }
      assertThat(workers.get(rank).session().traffic().pushed()).isEqualTo(coded.length);
      assertThat(workers.get(rank).session().traffic().pushedAsF32()).isEqualTo(4 * ELEMENTS);
    }
    CompletableFuture.allOf(steps).join();
    float[] actual = client.pullFloats(w);
    for (int i = 0; i < ELEMENTS; i++) {
      assertThat(actual[i]).isEqualTo(0 - expected[i] * 0.5f);
    }
    workers.forEach(Worker::close);
  }

  @Test
  void ranksThatSendDifferentElementsAddUp() {
    ModelHandle model = create(Consistency.BSP, 2);
    Parameter w = model.parameter("w");
    float[] one = new float[ELEMENTS];
    float[] other = new float[ELEMENTS];
    one[5] = 4;
    one[600] = 1;
    other[6] = -8;
    other[600] = 1;
    try (Worker a = client.joinModel(name, 0, 2);
        Worker b = client.joinModel(name, 1, 2)) {
      a.session().encodeGradients(GradientCodec.topK(0.001)); // one of each block
      b.session().encodeGradients(GradientCodec.topK(0.001));
      CompletableFuture.allOf(
              a.step(1, Map.of(w, MemorySegment.ofArray(one))),
              b.step(1, Map.of(w, MemorySegment.ofArray(other))))
          .join();
      float[] values = client.pullFloats(w);
      assertThat(values[5]).isEqualTo(-2);
      assertThat(values[6]).isEqualTo(4);
      assertThat(values[600]).isEqualTo(-1);
      assertThat(a.session().traffic().pushed()).isEqualTo(3 * 8);
    }
  }

  /** The mean of what is small on the wire is f32 in the log, whose entries have a limit. */
  @Test
  void aStepOfManyLargeBlocksFitsTheLogHoweverFewBytesAreSent() {
    int blocks = 16; // 4 of 2 MiB for each shard on average, so that one has more than an entry
    int elements = blocks << 19;
    ModelSpec.Builder spec =
        ModelSpec.newBuilder().setName(name).setConsistency(Consistency.BSP).setWorkers(1);
    spec.addParametersBuilder()
        .setName("w")
        .setDtypeValue(DType.F32.id())
        .addDims(elements)
        .setBlockElements(1 << 19);
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 1);
    Parameter w = client.create(spec.build()).parameter("w");
    float[] gradient = new float[elements];
    for (int block = 0; block < blocks; block++) {
      gradient[block << 19] = 1 + block;
    }
    try (Worker worker = client.joinModel(name, 0, 1)) {
      worker.session().encodeGradients(GradientCodec.topK(0.00001));
      worker.step(1, Map.of(w, MemorySegment.ofArray(gradient))).join();
    }
    float[] values = client.pullFloats(w);
    for (int block = 0; block < blocks; block++) {
      assertThat(values[block << 19]).as("block %d", block).isEqualTo(-1 - block);
    }
    client.delete(name, false);
  }

  @Test
  void whatWasSentAndWhatIsLeftOutAreAllOfTheGradients() {
    for (GradientCodec codec :
        List.of(
            GradientCodec.topK(0.1),
            GradientCodec.of(Codec.SIGN1).withErrorFeedback(),
            GradientCodec.of(Codec.Q4_0).withErrorFeedback())) {
      next();
      Parameter w = create(Consistency.BSP, 1).parameter("w");
      float[] sum = new float[ELEMENTS];
      try (Worker worker = client.joinModel(name, 0, 1)) {
        worker.session().encodeGradients(codec);
        for (int step = 1; step <= 50; step++) {
          float[] gradient = gaussian();
          for (int i = 0; i < ELEMENTS; i++) {
            sum[i] += gradient[i];
          }
          worker.step(step, Map.of(w, MemorySegment.ofArray(gradient))).join();
        }
        client.saveResidual(worker);
      }
      float[] values = client.pullFloats(w);
      float[] left = client.pullFloats(client.model(name + ".residual.rank0").parameter("w"));
      for (int i = 0; i < ELEMENTS; i++) {
        assertThat(left[i] - values[i]).isCloseTo(sum[i], within(1e-3f));
      }
    }
  }

  @Test
  void aResidualComesBackToAWorkerThatJoinsAgain() {
    ModelHandle model = create(Consistency.BSP, 1);
    Parameter w = model.parameter("w");
    float[] gradient = new float[ELEMENTS];
    gradient[0] = 2;
    gradient[1] = 1;
    try (Worker worker = client.joinModel(name, new JoinOptions(0, 1))) {
      worker.session().encodeGradients(GradientCodec.topK(0.001));
      assertThat(client.restoreResidual(worker)).isFalse();
      worker.step(1, Map.of(w, MemorySegment.ofArray(gradient))).join();
      client.saveResidual(worker);
      client.saveResidual(worker);
    }
    assertThat(client.pullFloats(w)).startsWith(-2, 0);
    assertThat(client.pullFloats(client.model(name + ".residual.rank0").parameter("w")))
        .startsWith(0, 1, 0);
    try (Worker worker = client.joinModel(name, new JoinOptions(0, 1))) {
      worker.session().encodeGradients(GradientCodec.topK(0.001));
      assertThat(client.restoreResidual(worker)).isTrue();
      worker.step(2, Map.of(w, MemorySegment.ofArray(new float[ELEMENTS]))).join();
    }
    assertThat(client.pullFloats(w)).startsWith(-2, -1);
  }

  @Test
  void aNanDoesNotEnterTheResidual() {
    Parameter w = create(Consistency.ASP, 0).parameter("w");
    float[] gradient = new float[ELEMENTS];
    gradient[699] = Float.NaN;
    try (Session session = client.openSession("nan")) {
      session.encodeGradients(GradientCodec.topK(0.5));
      assertThatThrownBy(
              () -> session.step(w.model(), 1, 0, Map.of(w, MemorySegment.ofArray(gradient))))
          .isInstanceOf(TensorholdException.class)
          .hasMessageContaining("value 699 of the gradient of w");
      gradient[699] = 3;
      session.step(w.model(), 1, 0, Map.of(w, MemorySegment.ofArray(gradient))).join();
      assertThat(client.pullFloats(w)[699]).isEqualTo(-3);
    }
  }

  @Test
  void codecsOfTheWireAreNeitherStoredNorPulled() {
    for (Codec codec : List.of(Codec.TOPK, Codec.SIGN1)) {
      ModelSpec spec =
          ModelSpec.newBuilder().setName(name).addParameters(tensor("w", codec.id())).build();
      assertThatThrownBy(() -> client.create(spec))
          .hasMessageContaining("can't be stored as " + codec.label());
    }
    Parameter w = create(Consistency.ASP, 0).parameter("w");
    for (Codec codec : List.of(Codec.TOPK, Codec.SIGN1)) {
      MemorySegment room = MemorySegment.ofArray(new byte[(int) w.bytes(codec)]);
      assertThatThrownBy(() -> client.pull(w, codec, room))
          .hasMessageContaining(codec.label() + " is for gradients on the wire");
    }
  }

  @Test
  void hostileTopkPayloadsAreRefusedAndChangeNothing() {
    Parameter w = create(Consistency.ASP, 0).parameter("w");
    byte[][] hostile = {
      {1, 0, 0, 0}, // the entry is missing
      {-1, -1, -1, -1, 0, 0, 0, 0}, // a negative count
      {2, 0, 0, 0, 0, 0, -1, -1, 0, 0, 0, 0}, // an index out of the block
      {0, 0, 0, 0, 0, 0, 0, 0}, // bytes that no entry has
      {1, 0, 0}, // no count
      {1, 0, 0, 0, 0, 0, (byte) 0x80, 0x7f}, // infinity
    };
    String[] reasons = {
      "REQUEST_INVALID",
      "REQUEST_INVALID",
      "REQUEST_INVALID",
      "REQUEST_INVALID",
      "PAYLOAD_LENGTH",
      "NONFINITE"
    };
    try (Session session = client.openSession("hostile")) {
      for (int i = 0; i < hostile.length; i++) {
        assertThat(reasonFor(session, w, hostile[i])).as("payload %d", i).isEqualTo(reasons[i]);
      }
      assertThat(reasonFor(session, w, new byte[4])).isEmpty();
    }
    assertThat(client.pullFloats(w)).containsOnly(0);
  }

  /** Why the server refuses the payload for block 2; empty: it does not. */
  private static String reasonFor(Session session, Parameter w, byte[] payload) {
    BlockPayload block = new BlockPayload(w, 2, Codec.TOPK, MemorySegment.ofArray(payload));
    try {
      session.pushBlocks(w.model(), Operation.ADD, List.of(block)).join();
      return "";
    } catch (CompletionException e) {
      return ((TensorholdException) e.getCause()).reason();
    } catch (TensorholdException e) {
      return e.reason();
    }
  }

  @Test
  void whatTheCodecSavedIsMetered() {
    Parameter w = create(Consistency.ASP, 0).parameter("w");
    ServerStatus before = client.status(false).values().iterator().next();
    try (Session session = client.openSession("meter")) {
      session.encodeGradients(GradientCodec.of(Codec.Q8_LINEAR));
      session.step(w.model(), 1, 0, Map.of(w, MemorySegment.ofArray(gaussian()))).join();
    }
    ServerStatus after = client.status(false).values().iterator().next();
    assertThat(after.getPushedBytes() - before.getPushedBytes()).isEqualTo(3 * 260);
    assertThat(after.getPushedDecodedBytes() - before.getPushedDecodedBytes())
        .isEqualTo(4 * ELEMENTS);
  }

  @Test
  void gradientsThatCannotBeSentSoAreRefused() {
    assertThat(
            catchThrowableOfType(
                    TensorholdException.class, () -> GradientCodec.of(Codec.TOPK).codec())
                .reason())
        .isEqualTo("CODEC_INVALID");
    assertThatThrownBy(() -> GradientCodec.topK(0)).hasMessageContaining("value=0.0");
    assertThatThrownBy(() -> GradientCodec.of(Codec.RAW)).hasMessageContaining("raw");
  }

  /** Two workers pull to their own targets; the outer optimizer brings the mean of them. */
  @Test
  void diLoCoSendsEachFragmentInItsTurn() {
    ModelHandle model = create(Consistency.BSP, 2);
    float[][] target = {gaussian(), gaussian()};
    try (Worker a = client.joinModel(name, 0, 2);
        Worker b = client.joinModel(name, 1, 2)) {
      CompletableFuture<Long> first = CompletableFuture.supplyAsync(() -> diLoCo(a, target[0], 40));
      CompletableFuture<Long> second =
          CompletableFuture.supplyAsync(() -> diLoCo(b, target[1], 40));
      assertThat(first.join()).isEqualTo(8); // two fragments, each every 10 of 40 inner steps
      assertThat(second.join()).isEqualTo(8);
      assertThat(a.session().traffic().pushedAsF32()).isEqualTo(8L * 4 * ELEMENTS);
      assertThat(a.session().traffic().pulled()).isEqualTo(8L * 4 * ELEMENTS);
    }
    for (String tensor : List.of("w", "v")) {
      float[] values = client.pullFloats(model.parameter(tensor));
      for (int i = 0; i < ELEMENTS; i++) {
        float mean = (target[0][i] + target[1][i]) / 2;
        assertThat(values[i]).isCloseTo(mean, within(0.05f));
      }
    }
  }

  private long diLoCo(Worker worker, float[] target, int steps) {
    Parameter w = worker.model().parameter("w");
    Parameter v = worker.model().parameter("v");
    Map<Parameter, float[]> values = Map.of(w, new float[ELEMENTS], v, new float[ELEMENTS]);
    DiLoCo outer = new DiLoCo(worker, List.of(List.of(w), List.of(v)), values, 10, 2);
    for (int step = 0; step < steps; step++) {
      for (float[] own : values.values()) {
        for (int i = 0; i < ELEMENTS; i++) {
          own[i] += 0.2f * (target[i] - own[i]);
        }
      }
      outer.afterInnerStep();
    }
    outer.finish();
    return outer.outerSteps();
  }
}
