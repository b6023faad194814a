package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Map;
import org.junit.jupiter.api.Test;

class ScheduleTest {
  private static void gives(Schedule schedule, double... factors) {
    for (int i = 0; i < factors.length; i++) {
      assertThat(schedule.factor(i + 1)).as("step %d", i + 1).isCloseTo(factors[i], within(1e-15));
    }
  }

  /** StepLR(3, 0.5) of PyTorch 2.13. */
  @Test
  void stepIsPyTorchs() {
    gives(Schedule.of("step", Map.of("size", 3.0, "gamma", 0.5)), 1, 1, 1, .5, .5, .5, .25, .25);
  }

  /** SequentialLR of LinearLR(0.1, 1, 4) and CosineAnnealingLR(6, 0.2), then the floor for ever. */
  @Test
  void warmUpThenCosineIsPyTorchs() {
    Map<String, Double> hyper =
        Map.of("period", 6.0, "floor", 0.2, "warmup", 4.0, "warmup_start", 0.1);
    gives(
        Schedule.of("cosine", hyper),
        0.1,
        0.325,
        0.55,
        0.7750000000000001,
        1.0,
        0.9464101615137757,
        0.8,
        0.6,
        0.4,
        0.2535898384862246,
        0.2,
        0.2,
        0.2);
  }

  @Test
  void inverseSquareRootHalvesAtFourTimesItsScale() {
    Schedule schedule = Schedule.of("inverse_sqrt", Map.of("timescale", 100.0, "warmup", 7.0));
    assertThat(schedule.factor(1)).isZero();
    assertThat(schedule.factor(8)).isEqualTo(1);
    assertThat(schedule.factor(308)).isEqualTo(0.5);
  }

  @Test
  void constantIsOneForEver() {
    assertThat(Schedule.CONSTANT.factor(1)).isEqualTo(1);
    assertThat(Schedule.CONSTANT.factor(Long.MAX_VALUE)).isEqualTo(1);
    assertThat(Schedule.of("", Map.of())).isEqualTo(Schedule.CONSTANT);
  }

  @Test
  void valuesOutOfRangeAreRefusedByName() {
    for (double value : new double[] {0, -1, 1.5, Double.NaN, 1e300}) {
      assertThatThrownBy(() -> Schedule.of("cosine", Map.of("period", value)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("period of schedule cosine is out of range: value=" + value);
    }
    assertThatThrownBy(() -> Schedule.of("step", Map.of("size", 3.0, "gamma", 1.1)))
        .hasMessageContaining("gamma of schedule step is out of range: value=1.1 allowed=0 to 1");
  }
}
