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
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.StragglerPolicy;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Workers of a real server: who may push which step, and what becomes of one that is late. */
@Timeout(60)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class TrainingTest {
  private static final int ELEMENTS = 3000;

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
    name = "m" + ++models;
  }

  @AfterAll
  void stop() {
    client.close();
    server.close();
  }

  private ModelHandle model(Consistency consistency, Consumer<ModelSpec.Builder> more) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName(name)
            .setConsistency(consistency)
            .setWorkers(2)
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("w")
                    .setDtype(DType.F32)
                    .addDims(ELEMENTS)
                    .setBlockElements(256));
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 1);
    more.accept(spec);
    return client.create(spec.build());
  }

  private static CompletableFuture<PushResult> step(Worker worker, long step, float gradient) {
    return step(worker, worker.model(), step, gradient);
  }

  private static CompletableFuture<PushResult> step(
      Worker worker, ModelHandle model, long step, float gradient) {
    float[] values = new float[ELEMENTS];
    Arrays.fill(values, gradient);
    return worker.step(step, Map.of(model.parameter("w"), MemorySegment.ofArray(values)));
  }

  private static TensorholdException refused(Runnable call) {
    Throwable thrown = catchThrowable(call::run);
    Throwable cause = thrown instanceof CompletionException ? thrown.getCause() : thrown;
    assertThat(cause).isInstanceOf(TensorholdException.class);
    return (TensorholdException) cause;
  }

  private static TensorholdException refused(CompletableFuture<?> future) {
    return refused(() -> future.join());
  }

  private Worker join(int rank) {
    return client.joinModel(name, new JoinOptions(rank, 2).withLabel("host-" + rank));
  }

  private float[] weights() {
    return client.pullFloats(client.model(name).parameter("w"));
  }

  @Test
  void stepIsTheMeanOfAllRanksAndIsMadeOnce() {
    model(Consistency.BSP, s -> {});
    try (Worker a = join(0);
        Worker b = join(1)) {
      for (long step = 1; step <= 3; step++) {
        CompletableFuture<PushResult> first = step(b, step, 6);
        assertThat(step(a, step, 2).join().duplicates()).isZero();
        first.join();
      }
      assertThat(weights()).containsOnly(-12f);
    }
  }

  @Test
  void restartedWorkerGoesOnInTheMiddleOfItsStepAndItsFormerSelfIsFenced() {
    ModelHandle model = model(Consistency.ASP, s -> {});
    Parameter w = model.parameter("w");
    Worker first = join(0);
    step(first, 1, 1).join();
    float[] ones = new float[256];
    Arrays.fill(ones, 1);
    // Step 2 reaches one shard only, in its two blocks there; then the worker dies.
    int reached = StepPieces.pushOneShard(server.address(), first, w, 2, ones);
    first.abandon();

    Worker again = join(0);
    assertThat(again.lastStep()).isEqualTo(1);
    // What it computes the second time is different: the shard that has step 2 keeps the first.
    PushResult result = step(again, 2, 1).join();
    assertThat(result.duplicates()).isEqualTo(1);
    assertThat(reached).isEqualTo(1);
    assertThat(weights()).containsOnly(-2f);

    TensorholdException late =
        refused(() -> StepPieces.pushOneShard(server.address(), first, w, 3, ones));
    assertThat(late.reason()).isEqualTo("SESSION_EXPIRED");
    step(again, 3, 1).join();
    assertThat(weights()).containsOnly(-3f);
    again.close();
    try (Worker third = join(0)) {
      assertThat(third.lastStep()).isEqualTo(3);
    }
  }

  @Test
  void workerThatDiesWaitingIsReplacedAndTheStepIsMadeOfTheNewPush() {
    model(Consistency.BSP, s -> {});
    Worker dead = join(0);
    var lost = step(dead, 1, 100);
    Replicas.until("its push to wait", () -> waits().contains("rank 1"));
    dead.abandon();
    assertThat(refused(lost).reason()).isEqualTo("CANCELLED");
    try (Worker a = join(0);
        Worker b = join(1)) {
      assertThat(a.lastStep()).isZero();
      var other = step(b, 1, 4);
      step(a, 1, 2).join();
      other.join();
      assertThat(weights()).containsOnly(-3f);
      assertThat(refused(step(dead.model(), dead, 2)).reason()).isIn("CANCELLED");
    }
  }

  private static CompletableFuture<PushResult> step(ModelHandle model, Worker worker, long step) {
    try {
      return step(worker, model, step, 1);
    } catch (TensorholdException closed) {
      return CompletableFuture.failedFuture(closed);
    }
  }

  private String waits() {
    ModelHandle model = client.model(name);
    return String.join("\n", client.training(model).waits(model.id()));
  }

  @Test
  void proceedMakesTheStepOfThoseWhoCameAndTellsTheLateOne() {
    model(
        Consistency.BSP, s -> s.setOnStraggler(StragglerPolicy.PROCEED).setStragglerTimeoutMs(300));
    try (Worker a = join(0);
        Worker b = join(1)) {
      step(a, 1, 5).join();
      assertThat(weights()).containsOnly(-5f);
      assertThat(refused(step(b, 1, 7)).reason()).isEqualTo("STEP_CLOSED");
      assertThat(weights()).containsOnly(-5f);
      var second = step(b, 2, 1);
      step(a, 2, 3).join();
      second.join();
      assertThat(weights()).containsOnly(-7f);
    }
    try (Worker b = join(1)) {
      assertThat(b.lastStep()).isEqualTo(2);
    }
  }

  @Test
  void failRefusesTheStepForAllAndNamesWhoIsMissing() {
    model(Consistency.BSP, s -> s.setOnStraggler(StragglerPolicy.FAIL).setStragglerTimeoutMs(300));
    try (Worker a = join(0)) {
      TensorholdException e = refused(step(a, 1, 5));
      assertThat(e.reason()).isEqualTo("STEP_FAILED");
      assertThat(e).hasMessageContaining("rank 1 (no live session)");
      assertThat(e.details()).containsEntry("missing-ranks", "[1]");
      assertThat(weights()).containsOnly(0f);
    }
  }

  @Test
  void waitingStepNamesTheMissingWorkerWhenItsDeadlinePasses() throws Exception {
    model(Consistency.BSP, s -> s.setStragglerTimeoutMs(100));
    try (TensorholdClient hasty =
            TensorholdClient.connect(
                new io.tensorhold.client.ClientOptions(List.of(server.address()))
                    .withDeadline(Duration.ofSeconds(1)));
        Worker a = hasty.joinModel(name, 0, 2);
        Worker b = join(1)) {
      TensorholdException e = refused(step(a, 1, 5));
      assertThat(e.reason()).isEqualTo("DEADLINE_EXCEEDED");
      assertThat(e).hasMessageContaining("rank 1 (host-1, heard of");
      assertThat(b.lastStep()).isZero();
    }
  }

  @Test
  void sameStepWithOtherBytesIsAConflictAndWithTheSameADuplicate() {
    model(Consistency.ASP, s -> {});
    try (Worker a = join(0)) {
      step(a, 1, 5).join();
      assertThat(refused(step(a, 1, 6)).reason()).isEqualTo("STEP_CONFLICT");
      PushResult again = step(a, 1, 5).join();
      assertThat(again.duplicates()).isEqualTo(again.pushes());
      step(a, 2, 1).join();
      assertThat(refused(step(a, 1, 5)).reason()).isEqualTo("STEP_CLOSED");
      assertThat(weights()).containsOnly(-6f);
    }
  }

  @Test
  void conflictIsSeenWhileTheStepWaitsToo() {
    model(Consistency.BSP, s -> {});
    try (Worker a = join(0);
        Worker b = join(1)) {
      var first = step(a, 1, 5);
      Replicas.until("it to wait", () -> waits().contains("rank 1"));
      assertThat(refused(step(a, 1, 6)).reason()).isEqualTo("STEP_CONFLICT");
      step(b, 1, 1).join();
      first.join();
      assertThat(weights()).containsOnly(-3f);
    }
  }

  @Test
  void ranksAreCheckedWhenTheyJoin() {
    model(Consistency.BSP, s -> {});
    assertThat(refused(() -> client.joinModel(name, 2, 2)).reason()).isEqualTo("RANK_INVALID");
    assertThat(refused(() -> client.joinModel(name, 0, 3)).reason()).isEqualTo("RANK_INVALID");
    assertThat(refused(() -> client.joinModel(name, -1, 2)).reason()).isEqualTo("RANK_INVALID");
    try (Worker a = join(0)) {
      TensorholdException e =
          refused(() -> client.joinModel(name, new JoinOptions(0, 2).withoutTakeOver()));
      assertThat(e.reason()).isEqualTo("RANK_TAKEN");
      assertThat(e).hasMessageContaining("host-0");
      try (Worker b = client.joinModel(name, new JoinOptions(null, 0))) {
        assertThat(b.rank()).isEqualTo(1);
        assertThat(b.session().id()).isGreaterThan(a.session().id());
        assertThat(refused(() -> client.joinModel(name, new JoinOptions(null, 0))).reason())
            .isEqualTo("RANK_TAKEN");
      }
    }
  }

  @Test
  void stepsAreForSessionsThatJoined() {
    ModelHandle model = model(Consistency.BSP, s -> {});
    MemorySegment gradient = MemorySegment.ofArray(new float[ELEMENTS]);
    try (Session plain = client.openSession("plain")) {
      Map<Parameter, MemorySegment> gradients = Map.of(model.parameter("w"), gradient);
      assertThat(refused(plain.step(model, 1, 0, gradients)).reason()).isEqualTo("SESSION_UNKNOWN");
      plain.push(model.parameter("w"), Operation.ADD, Codec.F32, gradient).join();
    }
  }

  @Test
  void leaseEndsWithoutHeartbeatsAndTheSessionsPushesAreRefused() {
    ModelHandle model = model(Consistency.ASP, s -> {});
    Worker silent = client.joinModel(name, new JoinOptions(0, 2).withLease(Duration.ofSeconds(1)));
    step(silent, 1, 1).join();
    silent.abandon();
    Replicas.until("the lease to end", () -> client.training(model).sessions().isEmpty());
    float[] ones = new float[256];
    TensorholdException e =
        refused(
            () -> StepPieces.pushOneShard(server.address(), silent, model.parameter("w"), 2, ones));
    assertThat(e.reason()).isEqualTo("SESSION_EXPIRED");
    try (Worker alive =
        client.joinModel(name, new JoinOptions(0, 2).withLease(Duration.ofSeconds(1)))) {
      assertThat(alive.lastStep()).isEqualTo(1);
      long id = alive.session().id();
      long until = System.nanoTime() + Duration.ofMillis(2500).toNanos();
      Replicas.until("two leases to pass", () -> System.nanoTime() > until);
      assertThat(client.training(model).sessions())
          .singleElement()
          .satisfies(s -> assertThat(s.getSession()).isEqualTo(id));
    }
    assertThat(client.training(model).sessions()).isEmpty();
  }

  @Test
  void fastWorkerWaitsForTheSlowestAndIsRefusedWhenItDoesNot() {
    model(Consistency.SSP, s -> s.setStaleness(2));
    try (Worker fast = join(0);
        Worker slow = join(1)) {
      step(fast, 1, 1).join();
      step(fast, 2, 1).join();
      var third = step(fast, 3, 1);
      Replicas.until("step 3 to wait", () -> waits().contains("rank 1"));
      assertThat(refused(step(fast, 4, 1)).reason()).isEqualTo("STALE");
      assertThat(third).isNotDone();
      long before = waitedMillis();
      step(slow, 1, 1).join();
      third.join();
      assertThat(weights()).containsOnly(-4f);
      assertThat(waitedMillis()).isGreaterThan(before);
    }
  }

  @Test
  void deadWorkerOfAnElasticModelHoldsNobodyUpAndANewcomerBeginsBesideTheOthers() {
    model(Consistency.SSP, s -> s.setStaleness(1).setWorkers(0));
    Worker dead = client.joinModel(name, new JoinOptions(null, 0).withLease(Duration.ofSeconds(1)));
    try (Worker a = client.joinModel(name, new JoinOptions(null, 0))) {
      step(a, 1, 1).join();
      var second = step(a, 2, 1);
      Replicas.until("step 2 to wait", () -> waits().contains("rank 0"));
      dead.abandon();
      second.join();
      step(a, 3, 1).join();
      try (Worker b = client.joinModel(name, new JoinOptions(null, 0))) {
        assertThat(b.rank()).isZero();
        assertThat(b.lastStep()).isEqualTo(3);
        step(b, 4, 1).join();
        step(a, 4, 1).join();
        assertThat(weights()).containsOnly(-5f);
      }
    }
  }

  @Test
  void specsOfStepsAreChecked() {
    assertSpec("LIMIT", "staleness", Consistency.SSP, s -> {});
    assertSpec("LIMIT", "workers", Consistency.BSP, s -> s.setWorkers(0));
    assertSpec("REQUEST_INVALID", "staleness", Consistency.ASP, s -> s.setStaleness(1));
    assertSpec(
        "REQUEST_INVALID",
        "WAIT, PROCEED",
        Consistency.SSP,
        s -> s.setStaleness(1).setOnStraggler(StragglerPolicy.FAIL));
    assertSpec("LIMIT", "straggler_timeout_ms", Consistency.BSP, s -> s.setStragglerTimeoutMs(-1));
  }

  private long waitedMillis() {
    return client.status(false).values().iterator().next().getStepWaitMs();
  }

  private void assertSpec(
      String reason, String text, Consistency consistency, Consumer<ModelSpec.Builder> wrong) {
    TensorholdException e = refused(() -> model(consistency, wrong));
    assertThat(e.reason()).isEqualTo(reason);
    assertThat(e).hasMessageContaining(text);
  }
}
