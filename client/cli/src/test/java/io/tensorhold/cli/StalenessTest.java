package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.function.Consumer;
import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Models whose learning rate falls with the staleness of a gradient. */
@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class StalenessTest {
  private static final int ELEMENTS = 600; // three blocks

  private LocalServer server;
  private TensorholdClient client;

  @BeforeAll
  void start(@TempDir Path data) throws Exception {
    server = new LocalServer(data, "64MiB");
    client = server.connect();
  }

  @AfterAll
  void stop() {
    client.close();
    server.close();
  }

  private void create(String name, String optimizer, Consumer<ModelSpec.Builder> more) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName(name)
            .setConsistency(Consistency.ASP)
            .setStalenessAwareRate(true)
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("w")
                    .setDtype(DType.F32)
                    .addDims(ELEMENTS)
                    .setBlockElements(256));
    spec.getOptimizerBuilder().setKind(optimizer).putHyper("lr", 1);
    more.accept(spec);
    client.create(spec.build());
  }

  private Worker join(String name, int rank) {
    return client.joinModel(name, new JoinOptions(rank, 0));
  }

  private static Map<Parameter, MemorySegment> values(Worker worker, float value) {
    float[] values = new float[ELEMENTS];
    Arrays.fill(values, value);
    return Map.of(worker.model().parameter("w"), MemorySegment.ofArray(values));
  }

  private float weight(String name) {
    float[] all = client.pullFloats(client.model(name).parameter("w"));
    assertThat(all).containsOnly(all[0]);
    return all[0];
  }

  @ParameterizedTest
  @EnumSource(names = {"LOGGED", "CHECKPOINTED"})
  void rateIsDividedByOneMoreThanTheStepsThatTheGradientHasNotSeen(Durability durability) {
    String name = "sgd-" + durability;
    create(name, "sgd", spec -> spec.setDurability(durability));
    try (Worker a = join(name, 0);
        Worker b = join(name, 1)) {
      client.pullFloats(a.model().parameter("w"));
      client.pullFloats(b.model().parameter("w"));
      a.stepAndPull(1, values(a, 1), values(a, 0)).join();
      assertThat(weight(name)).isEqualTo(-1f);
      b.step(1, values(b, 1)).join(); // has not seen the step of a
      assertThat(weight(name)).isEqualTo(-1.5f);
      b.step(2, values(b, 1)).join(); // nor that, nor its own
      assertThat(weight(name)).isCloseTo(-1.5f - 1 / 3f, within(1e-6f));
      float before = weight(name);
      a.step(2, values(a, 1)).join(); // has seen the first of three
      assertThat(weight(name)).isCloseTo(before - 1 / 3f, within(1e-6f));
      before = weight(name);
      client.pullFloats(b.model().parameter("w"));
      b.step(3, values(b, 1)).join(); // has seen all
      assertThat(weight(name)).isCloseTo(before - 1, within(1e-6f));
    }
  }

  @Test
  void rateOfAdamFallsAndNotItsGradient() {
    create("adam", "adam", spec -> {});
    UpdateRule rule = UpdateRule.of(Optimizer.of("adam", Map.of("lr", 1.0)));
    Kernels kernels = Kernels.best();
    MemorySegment w = MemorySegment.ofArray(new float[1]);
    MemorySegment state = MemorySegment.ofArray(new byte[(int) rule.stateBytes(1)]);
    MemorySegment scratch = MemorySegment.ofArray(new byte[(int) rule.scratchBytes()]);
    rule.initialize(kernels, state, 0, 1);
    float[] gradients = {0.5f, -2, 3};
    try (Worker a = join("adam", 0)) {
      for (int i = 0; i < gradients.length; i++) { // always at the first values
        a.step(i + 1, values(a, gradients[i])).join();
        rule.step(
            kernels,
            new UpdateRule.Command(i + 1, 1, 1, 0, i),
            w,
            0,
            MemorySegment.ofArray(new float[] {gradients[i]}),
            0,
            state,
            0,
            0,
            1,
            1,
            scratch);
        assertThat(weight("adam"))
            .isEqualTo(w.toArray(java.lang.foreign.ValueLayout.JAVA_FLOAT)[0]);
      }
    }
  }

  @Test
  void gradientThatDoesNotSayItsStepIsRefusedAndChangesNothing() {
    create("silent", "sgd", spec -> {});
    try (Worker a = join("silent", 0)) {
      refuses(
              () ->
                  StepPieces.pushOneShard(
                      server.address(), a, a.model().parameter("w"), 1, new float[256]),
              "REQUEST_INVALID")
          .hasMessageContaining("a gradient says the step of the values it was computed at");
      assertThat(weight("silent")).isZero();
    }
  }

  @Test
  void modelsThatCannotHaveItAreRefused() {
    refuses(
            () -> create("bsp", "sgd", s -> s.setConsistency(Consistency.BSP).setWorkers(2)),
            "REQUEST_INVALID")
        .hasMessageContaining("staleness_aware_rate is for ASP and SSP");
    refuses(
            () -> create("ftrl", "ftrl", s -> s.getOptimizerBuilder().clearHyper()),
            "OPTIMIZER_INVALID")
        .hasMessageContaining("the rate of ftrl for \"w\" falls by itself");
  }

  private static AbstractThrowableAssert<?, ?> refuses(Runnable call, String reason) {
    return assertThatThrownBy(call::run)
        .isInstanceOfSatisfying(
            TensorholdException.class, e -> assertThat(e.reason()).isEqualTo(reason));
  }
}
