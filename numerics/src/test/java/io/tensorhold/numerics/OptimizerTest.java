package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class OptimizerTest {
  static List<String> cases() {
    return OptimizerReference.GOLDEN_CASES;
  }

  @Test
  void goldenCasesAreAllThere() {
    assertThat(cases()).hasSize(29);
    assertThat(cases().stream().map(line -> line.split(" ", -1)[0]).distinct()).hasSize(10);
  }

  @Test
  void absentHyperParametersAreThoseOfPyTorch() {
    assertThat(Optimizer.of("sgd", Map.of()).hyper())
        .containsExactlyInAnyOrderEntriesOf(
            Map.of(
                "lr",
                1e-3,
                "momentum",
                0.0,
                "dampening",
                0.0,
                "weight_decay",
                0.0,
                "nesterov",
                0.0,
                "l1",
                0.0));
    assertThat(Optimizer.of("adam", Map.of()).hyper())
        .containsExactlyInAnyOrderEntriesOf(
            Map.of(
                "lr",
                1e-3,
                "beta1",
                0.9,
                "beta2",
                0.999,
                "eps",
                1e-8,
                "weight_decay",
                0.0,
                "amsgrad",
                0.0,
                "l1",
                0.0));
    assertThat(Optimizer.of("adamw", Map.of("lr", 0.5)).hyper())
        .containsExactlyInAnyOrderEntriesOf(
            Map.of(
                "lr",
                0.5,
                "beta1",
                0.9,
                "beta2",
                0.999,
                "eps",
                1e-8,
                "weight_decay",
                1e-2,
                "amsgrad",
                0.0,
                "l1",
                0.0));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void completeHyperParametersMakeTheSameOptimizer(String line) {
    Optimizer optimizer = OptimizerReference.parse(line);
    Optimizer again = Optimizer.of(optimizer.kind(), optimizer.hyper());
    assertThat(again.kind()).isEqualTo(optimizer.kind());
    assertThat(again.hyper()).isEqualTo(optimizer.hyper());
  }

  @ParameterizedTest
  @CsvSource({
    "sgd, lr, -0.1",
    "sgd, lr, NaN",
    "sgd, lr, Infinity",
    "sgd, lr, 1e10",
    "sgd, momentum, -1",
    "sgd, dampening, -Infinity",
    "sgd, weight_decay, -1e-9",
    "sgd, nesterov, 0.5",
    "adam, lr, -1",
    "adam, beta1, 1",
    "adam, beta1, -0.1",
    "adam, beta2, 0.99999999",
    "adam, eps, -1e-8",
    "adam, eps, NaN",
    "adam, amsgrad, 2",
    "adagrad, lr_decay, -1",
    "adagrad, initial_accumulator, NaN",
    "adagrad_row, row, 0",
    "adagrad_row, row, 1.5",
    "rmsprop, alpha, 1",
    "rmsprop, momentum, -1",
    "rmsprop, centered, 0.5",
    "adadelta, rho, 1.1",
    "ftrl, alpha, 0",
    "ftrl, alpha, 1e-10",
    "ftrl, l1, -1",
    "lion, beta2, NaN",
    "lamb, beta1, 1",
    "average, weight, 1.1",
    "sgd, l1, -0.1",
    "adamw, weight_decay, -1",
    "adamw, weight_decay, Infinity"
  })
  void valuesOutOfRangeAreRefusedByName(String kind, String name, double value) {
    assertThatThrownBy(() -> Optimizer.of(kind, Map.of(name, value)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("%s of %s".formatted(name, kind))
        .hasMessageContaining("value=" + value)
        .hasMessageContaining("allowed=");
  }

  @Test
  void unknownKindsAndNamesAreRefused() {
    assertThatThrownBy(() -> Optimizer.of("adamax", Map.of()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("\"adamax\" known=sgd, adam, adamw, adagrad");
    assertThatThrownBy(() -> Optimizer.of("sgd", Map.of("beta1", 0.9)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("\"beta1\"")
        .hasMessageContaining("lr, momentum, dampening, weight_decay, nesterov");
  }

  @Test
  void nesterovNeedsMomentumWithoutDampening() {
    assertThatThrownBy(() -> Optimizer.of("sgd", Map.of("nesterov", 1.0)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("nesterov");
    assertThatThrownBy(
            () -> Optimizer.of("sgd", Map.of("nesterov", 1.0, "momentum", 0.9, "dampening", 0.1)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("dampening");
  }

  @Test
  void slotsAreWhatTheRuleRemembers() {
    assertThat(Optimizer.of("sgd", Map.of()).slots()).isZero();
    assertThat(Optimizer.of("sgd", Map.of("momentum", 0.9)).slots()).isEqualTo(1);
    // As f32 this momentum would be 0, and a slot without use.
    assertThat(Optimizer.of("sgd", Map.of("momentum", 1e-60)).slots()).isZero();
    assertThat(Optimizer.of("adamw", Map.of()).slots()).isEqualTo(2);
  }

  @Test
  void momentumStartsFromTheFirstGradientWhateverTheSlotHeld() {
    Optimizer sgd = Optimizer.of("sgd", Map.of("lr", 1.0, "momentum", 0.9, "dampening", 0.5));
    MemorySegment w = Memory.ofFloats(0);
    MemorySegment slot = Memory.ofFloats(Float.NaN);
    sgd.step(Kernels.best(), 1, w, 0, Memory.ofFloats(2), 0, slot, 0, 4, 1);
    assertThat(Memory.floats(w)).containsExactly(-2);
    assertThat(Memory.floats(slot)).containsExactly(2);
  }

  @Test
  void slotsLieAStrideApart() {
    MemorySegment w = Memory.ofFloats(1, 1);
    MemorySegment state = Memory.ofFloats(7, 0, 0, 7, 0, 0, 7);
    Optimizer.of("adam", Map.of())
        .step(Kernels.best(), 1, w, 0, Memory.ofFloats(1, 2), 0, state, 4, 12, 2);
    float[] after = Memory.floats(state);
    assertThat(new float[] {after[0], after[3], after[6]}).containsExactly(7, 7, 7);
    assertThat(after[1]).isPositive();
    assertThat(after[2]).isGreaterThan(after[1]);
    assertThat(after[5]).isGreaterThan(after[4]).isPositive();
  }

  @Test
  void aStepThatCannotBeMadeChangesNothing() {
    Optimizer adam = Optimizer.of("adam", Map.of());
    MemorySegment w = Memory.ofFloats(1, 2);
    MemorySegment g = Memory.ofFloats(1, 1);
    MemorySegment tooShort = Memory.ofFloats(0, 0, 0);
    assertThatThrownBy(() -> adam.step(Kernels.best(), 1, w, 0, g, 0, tooShort, 0, 8, 2))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> adam.step(Kernels.best(), 0, w, 0, g, 0, tooShort, 0, 4, 1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("value=0 limit>=1");
    assertThat(Memory.floats(w)).containsExactly(1, 2);
    assertThat(Memory.floats(tooShort)).containsOnly(0);
  }
}
