package io.tensorhold.client.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.client.plan.Plan.TrainingPlan;
import io.tensorhold.client.plan.PlanRequest.Optimizer;
import io.tensorhold.client.plan.PlanRequest.Recomputation;
import io.tensorhold.client.plan.PlanRequest.Storage;
import io.tensorhold.client.plan.PlanRequest.Training;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class PlanTest {
  private static final PlanRequest ADAM = PlanRequest.DEFAULT.withOptimizer(Optimizer.of("adam"));

  private static final ModelConfig GPT3 =
      new ModelConfig(
          ModelConfig.Family.GPT2, 96, 12288, 96, 96, 128, 49152, 50257, 2048, 0, 1, true);

  @ParameterizedTest
  @CsvSource({"0, 120", "1, 31.4", "2, 16.6", "3, 1.9"})
  void zeroStagesOfSevenAndAHalfBillionParametersOn64Ranks(int stage, double gigabytes) {
    PlanRequest request = ADAM.withTraining(Training.DEFAULT.zero(stage, 64));
    TrainingPlan plan = Plan.of(7_500_000_000L, request).training();
    assertThat(plan.state() / 1e9).isCloseTo(gigabytes, within(0.05));
    assertThat(plan.activations()).isNull();
  }

  @Test
  void eightBitAdamWithoutMasterWeights() {
    Training training = new Training(2, 2, 0, 0, 1, 1, 2048, Recomputation.NONE);
    PlanRequest request =
        PlanRequest.DEFAULT.withOptimizer(Optimizer.of("adam").eightBit()).withTraining(training);
    assertThat(Plan.of(25_600, request).training().state())
        .isEqualTo(25_600 * 4 + 25_600 * 2 + 25_600 * 2 * 4 / 256);
  }

  @ParameterizedTest
  @CsvSource({"NONE, 2868903936", "SELECTIVE, 855638016", "FULL, 50331648"})
  void activationsOfALayerOfGpt3(Recomputation recomputation, long bytes) {
    Training training = Training.DEFAULT.sequences(1, 2048, recomputation);
    TrainingPlan plan = Plan.of(GPT3, ADAM.withTraining(training)).training();
    assertThat(plan.activationsPerLayer()).isEqualTo(bytes);
    assertThat(plan.activations()).isEqualTo(96 * bytes);
    assertThat(plan.total()).isEqualTo(plan.state() + 96 * bytes);
    if (recomputation == Recomputation.NONE) {
      assertThat(bytes / (double) (1 << 30)).isCloseTo(2.672, within(0.0005));
    }
  }

  @ParameterizedTest
  @CsvSource({
    "F32, 4000",
    "F16, 2000",
    "BF16, 2000",
    "Q8_0, 1088",
    "FP8_E4M3, 1040",
    "Q4_0, 576",
    "NF4, 576",
    "Q8_LINEAR, 1040"
  })
  void lastGroupOfATensorIsStoredWhole(Codec codec, long bytes) {
    Plan plan = Plan.of(1000, PlanRequest.DEFAULT.withCodec(codec));
    assertThat(plan.weightBytes()).isEqualTo(bytes);
    assertThat(plan.storage().copyBytes()).isEqualTo(bytes);
  }

  @ParameterizedTest
  @EnumSource(
      value = Codec.class,
      names = {"TOPK", "SIGN1", "RAW"})
  void weightsAreNotPlannedAsWhatTheyCannotBeStoredAs(Codec codec) {
    assertThatThrownBy(() -> PlanRequest.DEFAULT.withCodec(codec))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "weights can't be stored as %s: allowed=f32, f16, bf16, q8_0, fp8_e4m3, q4_0, nf4,"
                + " q8_linear",
            codec.label());
  }

  @Test
  void checkpointIsPlannedTensorByTensorToTheByte() {
    List<TensorEntry> tensors =
        List.of(
            new TensorEntry("layer.0.w", DType.F32, Shape.of(33), 132),
            new TensorEntry("layer.1.w", DType.F32, Shape.of(33), 132),
            new TensorEntry("half", DType.F16, Shape.of(5), 10),
            new TensorEntry("ids", DType.I64, Shape.of(3), 24),
            new TensorEntry("empty", DType.F32, Shape.of(0), 0),
            new TensorEntry("scalar", DType.F32, Shape.of(), 4));
    Plan own = Plan.of(tensors, PlanRequest.DEFAULT);
    assertThat(own.weightBytes()).isEqualTo(132 + 132 + 10 + 24 + 4);
    assertThat(own.parameters()).isEqualTo(33 + 33 + 5 + 3 + 1);
    assertThat(own.groups().getFirst().group())
        .isEqualTo(new ParameterCount.Group("layer.*.w", DType.F32, 33, 2));
    Plan q8 = Plan.of(tensors, ADAM.withCodec(Codec.Q8_0));
    assertThat(q8.weightBytes()).isEqualTo(68 + 68 + 34 + 24 + 34);
    assertThat(q8.groups()).anyMatch(g -> g.group().name().equals("ids") && g.codec() == Codec.RAW);
    assertThat(q8.storage().optimizerBytes()).isEqualTo(8 * (33 + 33 + 5 + 1));
    assertThat(q8.storage().blocks()).isEqualTo(5);
  }

  @Test
  void storageOfThreeCopiesOnThreeServers() {
    long n = 1L << 30;
    Storage storage = new Storage(3, 3, 8, 262_144, 2, 0.5, 1.25, 1 << 20, 0.25);
    Plan plan = Plan.of(n, ADAM.withStorage(storage));
    long state = 12 * n;
    assertThat(plan.storage().optimizerBytes()).isEqualTo(8 * n);
    assertThat(plan.storage().versionBytes()).isEqualTo(state);
    assertThat(plan.storage().copyBytes()).isEqualTo(2 * state);
    assertThat(plan.storage().blocks()).isEqualTo(4096);
    assertThat(plan.storage().logBytes()).isEqualTo(24L << 20);
    assertThat(plan.storage().diskBytes()).isEqualTo(7 * state + state / 2 + (24L << 20));
    assertThat(plan.storage().memoryBytes()).isEqualTo(3 * state / 4);
    // Every shard is on every server: no server can be fuller than another.
    assertThat(plan.storage().fullestServer()).isEqualTo(plan.storage().server());
    assertThat(plan.storage().server().disk()).isEqualTo(2 * state * 5 / 4 + (8 << 20));
  }

  @Test
  void fullestServerIsNearWhatThrowingTheBlocksGives() {
    int servers = 8;
    int blocks = 1000;
    Storage storage = Storage.DEFAULT.on(servers, 1);
    Plan plan = Plan.of(blocks * 262_144L, PlanRequest.DEFAULT.withStorage(storage));
    Random random = new Random(7);
    double sum = 0;
    int rounds = 400;
    for (int round = 0; round < rounds; round++) {
      int[] load = new int[servers];
      for (int i = 0; i < blocks; i++) {
        load[random.nextInt(servers)]++;
      }
      sum += java.util.Arrays.stream(load).max().orElseThrow();
    }
    double thrown = sum / rounds * (1 << 20);
    assertThat((double) plan.storage().fullestServer().memory())
        .isBetween(thrown, 1.1 * thrown)
        .isGreaterThan(1.1 * plan.storage().server().memory());
  }

  @Test
  void shardsThatDoNotDivideEvenlyMakeAFullerServer() {
    Storage storage = Storage.DEFAULT.on(3, 1);
    Plan plan = Plan.of(1L << 40, PlanRequest.DEFAULT.withStorage(storage));
    double ratio =
        (double) plan.storage().fullestServer().memory() / plan.storage().server().memory();
    assertThat(ratio).isCloseTo(9.0 / 8, within(0.01));
    assertThat(plan.storage().fullestServer().log()).isEqualTo(3 * (512L << 20));
  }

  @Test
  void oneBlockIsWhollyOnOneServer() {
    Plan plan = Plan.of(10, PlanRequest.DEFAULT.withStorage(Storage.DEFAULT.on(4, 1)));
    assertThat(plan.storage().fullestServer().memory()).isLessThanOrEqualTo(40);
    assertThat(plan.storage().blocks()).isEqualTo(1);
  }

  @Test
  void nothingAtAllIsPlannedAsNothing() {
    Plan plan = Plan.of(List.of(), ADAM);
    assertThat(plan.parameters()).isZero();
    assertThat(plan.storage().copyBytes()).isZero();
    assertThat(plan.training().state()).isZero();
  }

  @Test
  void figuresPastALongAreErrors() {
    assertThatThrownBy(() -> Plan.of(Long.MAX_VALUE, ADAM)).isInstanceOf(ArithmeticException.class);
    assertThatThrownBy(() -> Plan.of(-1, ADAM)).isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void requestsOutOfRangeNameTheValueAndWhatIsAllowed() {
    assertThatThrownBy(() -> Storage.DEFAULT.on(2, 3))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("replicas=3")
        .hasMessageContaining("servers=2");
    assertThatThrownBy(() -> Training.DEFAULT.zero(4, 1)).hasMessageContaining("ZeRO stage=4");
    assertThatThrownBy(() -> Training.DEFAULT.zero(1, 0)).hasMessageContaining("ranks=0");
    assertThatThrownBy(() -> Optimizer.of("adamax")).hasMessageContaining("adamax");
    assertThatThrownBy(() -> new Storage(1, 1, 8, 1000, 0, 1, 1.2, 0, 1))
        .hasMessageContaining("block elements=1000");
    assertThatThrownBy(() -> new Storage(1, 1, 8, 256, 0, Double.NaN, 1.2, 0, 1))
        .hasMessageContaining("changed share=NaN");
  }

  @Test
  void defaults() {
    assertThat(Storage.DEFAULT)
        .isEqualTo(new Storage(1, 1, 8, 262_144, 0, 1, 1.25, 536_870_912, 1));
    assertThat(Training.DEFAULT)
        .isEqualTo(new Training(2, 2, 4, 0, 1, 1, 2048, Recomputation.NONE));
    assertThat(PlanRequest.DEFAULT.codec()).isNull();
    assertThat(Optimizer.of("adamw").bytesPerElement()).isEqualTo(8);
    assertThat(Optimizer.of("momentum").bytesPerElement()).isEqualTo(4);
    assertThat(Optimizer.of("sgd").bytesPerElement()).isZero();
  }
}
