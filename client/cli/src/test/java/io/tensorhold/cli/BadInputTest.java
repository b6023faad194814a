package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Bad input through the SDK: a precise error, and nothing changed. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class BadInputTest {
  private LocalServer server;
  private TensorholdClient client;
  private ModelHandle model;
  private Parameter w;

  @BeforeAll
  void start(@TempDir Path data) throws Exception {
    server = new LocalServer(data, "64MiB");
    client = server.connect();
    model = client.create(spec("m", s -> s.getOptimizerBuilder().setKind("sgd").putHyper("lr", 1)));
    w = model.parameter("w");
  }

  @AfterAll
  void stop() {
    client.close();
    server.close();
  }

  private static ModelSpec spec(String name, Consumer<ModelSpec.Builder> more) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName(name)
            .addParameters(ParameterSpec.newBuilder().setName("w").setDtype(DType.F32).addDims(4));
    more.accept(spec);
    return spec.build();
  }

  private static TensorholdException refused(Runnable call) {
    Throwable thrown = org.assertj.core.api.Assertions.catchThrowable(call::run);
    Throwable cause =
        thrown instanceof CompletionException && thrown.getCause() != null
            ? thrown.getCause()
            : thrown;
    assertThat(cause).isInstanceOf(TensorholdException.class);
    return (TensorholdException) cause;
  }

  private void refusesSpec(String reason, String text, Consumer<ModelSpec.Builder> wrong) {
    TensorholdException e = refused(() -> client.create(spec("bad", wrong)));
    assertThat(e.reason()).isEqualTo(reason);
    assertThat(e).hasMessageContaining(text);
    assertThat(client.list("bad", true)).isEmpty();
  }

  private void refusesPush(String reason, String text, Operation operation, float... values) {
    try (Session session = client.openSession("bad")) {
      TensorholdException e =
          refused(
              () -> session.push(w, operation, Codec.F32, MemorySegment.ofArray(values)).join());
      assertThat(e.reason()).isEqualTo(reason);
      assertThat(e).hasMessageContaining(text);
    }
    assertThat(client.pullFloats(w)).containsOnly(0);
  }

  @Test
  void unknownModel() {
    TensorholdException e = refused(() -> client.model("nope"));
    assertThat(e.reason()).isEqualTo("MODEL_UNKNOWN");
    assertThat(e).hasMessageContaining("\"nope\"");
  }

  @Test
  void unknownParameterNamesTheNearOnes() {
    TensorholdException e = refused(() -> model.parameter("layer.w"));
    assertThat(e.reason()).isEqualTo("PARAMETER_UNKNOWN");
    assertThat(e).hasMessageContaining("\"layer.w\"").hasMessageContaining("near it are w");
  }

  @Test
  void secondModelOfTheSameName() {
    assertThat(refused(() -> client.create(spec("m", s -> {}))).reason()).isEqualTo("MODEL_EXISTS");
  }

  @Test
  void emptyName() {
    assertThat(refused(() -> client.create(spec("", s -> {}))).reason()).isEqualTo("NAME_INVALID");
  }

  @ParameterizedTest
  @ValueSource(strings = {"a\nb", "a\u0000b", "\u007f"})
  void controlCharactersInNames(String name) {
    TensorholdException e = refused(() -> client.create(spec(name, s -> {})));
    assertThat(e.reason()).isEqualTo("NAME_INVALID");
    assertThat(e).hasMessageContaining("control character");
    refusesSpec("NAME_INVALID", "control", s -> s.getParametersBuilder(0).setName(name));
  }

  @Test
  void nameOfMoreThan512Bytes() {
    assertThat(refused(() -> client.create(spec("é".repeat(257), s -> {}))))
        .hasMessageContaining("514 bytes, limit=512");
    client.create(spec("é".repeat(256), s -> {}));
  }

  @Test
  void twoParametersOfOneName() {
    refusesSpec(
        "NAME_INVALID", "two parameters", s -> s.addParameters(s.getParametersBuilder(0).build()));
  }

  @Test
  void shapesDtypesAndCodecs() {
    refusesSpec("SHAPE_INVALID", "-1", s -> s.getParametersBuilder(0).addDims(-1));
    refusesSpec(
        "SHAPE_INVALID", "w", s -> s.getParametersBuilder(0).addDims(Long.MAX_VALUE).addDims(8));
    refusesSpec("SHAPE_INVALID", "dtype", s -> s.getParametersBuilder(0).setDtypeValue(63));
    refusesSpec(
        "SHAPE_INVALID", "multiples of 256", s -> s.getParametersBuilder(0).setBlockElements(100));
    refusesSpec("CODEC_INVALID", "codec", s -> s.getParametersBuilder(0).setCodecValue(11));
    refusesSpec(
        "CODEC_INVALID",
        "can't be stored as q8_0",
        s ->
            s.getParametersBuilder(0)
                .setDtype(DType.I64)
                .setCodec(io.tensorhold.proto.v1.Codec.CODEC_Q8_0));
  }

  @Test
  void optimizersAndHyperParameters() {
    refusesSpec("OPTIMIZER_INVALID", "adamax", s -> s.getOptimizerBuilder().setKind("adamax"));
    refusesSpec(
        "OPTIMIZER_INVALID",
        "lr",
        s -> s.getOptimizerBuilder().setKind("sgd").putHyper("lr", Double.NaN));
    refusesSpec(
        "OPTIMIZER_INVALID",
        "beta9",
        s -> s.getOptimizerBuilder().setKind("adam").putHyper("beta9", 0.5));
    refusesSpec(
        "OPTIMIZER_INVALID",
        "without an optimizer",
        s -> s.getOptimizerBuilder().putHyper("lr", 0.5));
    refusesSpec("LIMIT", "workers", s -> s.setConsistency(Consistency.BSP));
  }

  @Test
  void nonFiniteGradients() {
    refusesPush("NONFINITE", "value 2", Operation.GRADIENT, 0, 0, Float.NaN, 0);
    refusesPush("NONFINITE", "value 0", Operation.ADD, Float.POSITIVE_INFINITY, 0, 0, 0);
  }

  @Test
  void nonFiniteIsTakenWhereTheModelAllowsIt() {
    ModelHandle tolerant = client.create(spec("tolerant", s -> s.setAllowNonfinite(true)));
    Parameter parameter = tolerant.parameter("w");
    try (Session session = client.openSession("nan")) {
      float[] values = {1, Float.NaN, 2, 3};
      session.push(parameter, Operation.ASSIGN, Codec.F32, MemorySegment.ofArray(values)).join();
      assertThat(client.pullFloats(parameter)[1]).isNaN();
    }
  }

  @Test
  void lengthsAndSlices() {
    refusesPush("PAYLOAD_LENGTH", "16 bytes: value=12", Operation.ADD, 1, 2, 3);
    assertThat(
            catchThrowableOfType(
                IllegalArgumentException.class, () -> Slice.parse("0:9", w.shape())))
        .hasMessageContaining("9");
    assertThat(
            refused(
                () ->
                    client.pullBlocks(
                        model, List.of(TensorholdClient.range(w, 0, 2)), null, (h, p) -> {})))
        .hasMessageContaining("1 blocks");
  }

  @Test
  void gradientWithoutAnOptimizer() {
    ModelHandle plain = client.create(spec("plain", s -> {}));
    try (Session session = client.openSession("gradient")) {
      TensorholdException e =
          refused(
              () ->
                  session
                      .push(
                          plain.parameter("w"),
                          Operation.GRADIENT,
                          Codec.F32,
                          MemorySegment.ofArray(new float[4]))
                      .join());
      assertThat(e.reason()).isEqualTo("OPTIMIZER_INVALID");
    }
  }

  @Test
  void deletedModelIsGoneAndTakesNoPush() {
    ModelHandle doomed = client.create(spec("doomed", s -> {}));
    try (Session session = client.openSession("doomed")) {
      MemorySegment values = MemorySegment.ofArray(new float[4]);
      session.push(doomed.parameter("w"), Operation.ASSIGN, Codec.F32, values).join();
      client.delete("doomed", false);
      assertThat(refused(() -> client.model("doomed")).reason()).isEqualTo("MODEL_UNKNOWN");
      assertThat(
              refused(
                      () ->
                          session
                              .push(doomed.parameter("w"), Operation.ASSIGN, Codec.F32, values)
                              .join())
                  .reason())
          .isEqualTo("MODEL_UNKNOWN");
    }
    Replicas.until(
        "its blocks to be freed",
        () -> {
          try {
            client.measure(doomed);
            return client.measure(doomed).isEmpty();
          } catch (TensorholdException e) {
            return true;
          }
        });
  }
}
