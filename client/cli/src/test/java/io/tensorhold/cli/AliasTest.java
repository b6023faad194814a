package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.AliasSpec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;

/** Several names of one tensor: one set of bytes, whichever name is used. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class AliasTest {
  private static final int ELEMENTS = 10 * 100; // four blocks of 256
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

  private static AliasSpec.Builder alias(String name, String of, long first, long... dims) {
    AliasSpec.Builder alias = AliasSpec.newBuilder().setName(name).setOf(of).setFirstElement(first);
    Arrays.stream(dims).forEach(alias::addDims);
    return alias;
  }

  private static ModelSpec.Builder spec(String name, AliasSpec.Builder... aliases) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName(name)
            .setOptimizer(OptimizerSpec.newBuilder().setKind("sgd").putHyper("lr", 1))
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("embedding")
                    .setDtype(DType.F32)
                    .setBlockElements(256)
                    .addDims(10)
                    .addDims(100))
            .addParameters(
                ParameterSpec.newBuilder().setName("ids").setDtype(DType.I64).addDims(4));
    Arrays.stream(aliases).forEach(spec::addAliases);
    return spec;
  }

  private ModelHandle tied(String name) {
    return client.create(
        spec(
                name,
                alias("head", "embedding", 0, 10, 100),
                alias("rows", "embedding", 250, 2, 100),
                alias("within", "rows", 30, 20),
                alias("flat", "head", 0, ELEMENTS))
            .build());
  }

  private static MemorySegment values(int count, float value) {
    float[] values = new float[count];
    Arrays.fill(values, value);
    return MemorySegment.ofArray(values);
  }

  @Test
  void pushThroughEitherNameIsOnePush() {
    ModelHandle model = tied("one-push");
    try (Session session = client.openSession("alias")) {
      session.push(model.parameter("head"), Operation.ADD, Codec.F32, values(ELEMENTS, 1)).join();
      session
          .push(model.parameter("embedding"), Operation.ADD, Codec.F32, values(ELEMENTS, 2))
          .join();
      session.push(model.parameter("flat"), Operation.ADD, Codec.F32, values(ELEMENTS, 4)).join();
    }
    for (String name : new String[] {"embedding", "head", "flat"}) {
      assertThat(client.pullFloats(model.parameter(name))).hasSize(ELEMENTS).containsOnly(7);
    }
    assertThat(model.parameter("head")).isSameAs(model.parameter("embedding"));
  }

  @Test
  void partOfATensorIsPulledAndPushedAcrossItsBlocks() {
    ModelHandle model = tied("part");
    Parameter rows = model.parameter("rows");
    Parameter within = model.parameter("within");
    assertThat(within.firstElement()).isEqualTo(280);
    assertThat(within.tensor()).isSameAs(model.parameter("embedding"));
    float[] all = new float[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) {
      all[i] = i;
    }
    try (Session session = client.openSession("part")) {
      session
          .push(
              model.parameter("embedding"), Operation.ASSIGN, Codec.F32, MemorySegment.ofArray(all))
          .join();
      assertThat(client.pullFloats(rows)).isEqualTo(Arrays.copyOfRange(all, 250, 450));
      Slice second = Slice.parse("1,98:", rows.shape());
      float[] tail = new float[2];
      client.pull(rows, second, Codec.F32, MemorySegment.ofArray(tail));
      assertThat(tail).containsExactly(448, 449);
      session.push(within, Operation.ADD, Codec.F32, values(20, 1000)).join();
      session.push(rows, second, Operation.ASSIGN, Codec.F32, values(2, -1)).join();
    }
    for (int i = 280; i < 300; i++) {
      all[i] += 1000;
    }
    all[448] = -1;
    all[449] = -1;
    assertThat(client.pullFloats(model.parameter("embedding"))).isEqualTo(all);
    assertThat(client.pullFloats(within)).isEqualTo(Arrays.copyOfRange(all, 280, 300));
  }

  @Test
  void bytesAreStoredOnce() {
    ModelHandle model = tied("once");
    ModelHandle plain = client.create(spec("plain").build());
    try (Session session = client.openSession("once")) {
      for (ModelHandle each : new ModelHandle[] {model, plain}) {
        session
            .push(each.parameter("embedding"), Operation.ASSIGN, Codec.F32, values(ELEMENTS, 3))
            .join();
      }
      session
          .push(model.parameter("head"), Operation.ASSIGN, Codec.F32, values(ELEMENTS, 4))
          .join();
    }
    long[] bytes = new long[2];
    client.measure(model).values().forEach(part -> bytes[0] += part.getWeightBytes());
    client.measure(plain).values().forEach(part -> bytes[1] += part.getWeightBytes());
    assertThat(bytes[0]).isEqualTo(bytes[1]).isPositive();
    assertThat(client.list("once", false))
        .singleElement()
        .satisfies(
            entry -> {
              assertThat(entry.getAliases()).isEqualTo(4);
              assertThat(entry.getElements()).isEqualTo(ELEMENTS + 4);
            });
  }

  @Test
  void stepTakesTheGradientOfTheTensorUnderAnyOfItsNamesOnce() {
    client.create(
        spec("steps", alias("head", "embedding", 0, 10, 100), alias("rows", "embedding", 0, 100))
            .setConsistency(Consistency.BSP)
            .setWorkers(1)
            .build());
    try (Worker worker = client.joinModel("steps", 0, 1)) {
      ModelHandle model = worker.model();
      worker.step(1, Map.of(model.parameter("head"), values(ELEMENTS, 1))).join();
      assertThat(client.pullFloats(model.parameter("embedding"))).containsOnly(-1);
      TensorholdException refused =
          catchThrowableOfType(
              TensorholdException.class,
              () -> worker.step(2, Map.of(model.parameter("rows"), values(100, 1))).join());
      assertThat(refused.reason()).isEqualTo("ALIAS_INVALID");
      assertThat(refused).hasMessageContaining("gradient of embedding");
    }
  }

  private void refuses(String reason, String text, AliasSpec.Builder... aliases) {
    TensorholdException refused =
        catchThrowableOfType(
            TensorholdException.class, () -> client.create(spec("bad", aliases).build()));
    assertThat(refused).isNotNull().hasMessageContaining(text);
    assertThat(refused.reason()).isEqualTo(reason);
    assertThat(client.list("bad", true)).isEmpty();
  }

  @Test
  void aliasThatNamesNothingRightIsRefused() {
    refuses("ALIAS_INVALID", "\"a\" is an alias of itself", alias("a", "a", 0, 1));
    refuses(
        "ALIAS_INVALID",
        "is an alias of itself by way of",
        alias("a", "b", 0, 1),
        alias("b", "c", 0, 1),
        alias("c", "a", 0, 1));
    refuses("ALIAS_INVALID", "nothing of the model", alias("a", "nope", 0, 1));
    refuses(
        "ALIAS_INVALID",
        "is of the dtype F16 and an alias of \"embedding\", which is F32",
        alias("a", "embedding", 0, 1).setDtype(DType.F16));
    refuses(
        "ALIAS_INVALID",
        "has 2 elements from element 999 of \"embedding\" on, which has 1000",
        alias("a", "embedding", 999, 2));
    refuses("ALIAS_INVALID", "18446744073709551615", alias("a", "embedding", -1, 2));
    refuses(
        "ALIAS_INVALID",
        "from element 5 of \"a\" on, which has 10",
        alias("b", "a", 5, 6),
        alias("a", "embedding", 0, 10));
    refuses(
        "ALIAS_INVALID",
        "a shape that no tensor can have",
        alias("a", "embedding", 0, Long.MAX_VALUE, Long.MAX_VALUE));
    refuses("ALIAS_INVALID", "a shape that no tensor can have", alias("a", "embedding", 0, -1));
    refuses("NAME_INVALID", "the name of a parameter", alias("ids", "embedding", 0, 1));
    refuses(
        "NAME_INVALID",
        "or of another alias",
        alias("a", "embedding", 0, 1),
        alias("a", "embedding", 0, 1));
    refuses("NAME_INVALID", "control", alias("a\n", "embedding", 0, 1));
  }

  @Test
  void chainOfAliasesMayStandInAnyOrder() {
    AliasSpec.Builder[] chain = new AliasSpec.Builder[2000];
    for (int i = 0; i < chain.length; i++) {
      chain[i] = alias("a" + i, i + 1 == chain.length ? "embedding" : "a" + (i + 1), 0, 10, 100);
    }
    ModelHandle model = client.create(spec("chain", chain).build());
    assertThat(model.aliases()).hasSize(2000);
    assertThat(model.parameter("a0")).isSameAs(model.parameter("embedding"));
  }
}
