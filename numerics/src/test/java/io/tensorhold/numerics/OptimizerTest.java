package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class OptimizerTest {
  private static final List<String> GOLDEN = Memory.golden("optimizers.txt");

  static List<String> cases() {
    return GOLDEN.stream().filter(line -> line.startsWith("case ")).toList();
  }

  @Test
  void goldenCasesAreAllThere() {
    assertThat(cases()).hasSize(11);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void stepsAreThoseOfPyTorch(String line) {
    Optimizer optimizer = parse(line);
    List<MemorySegment> grads = new ArrayList<>();
    for (String golden : GOLDEN) {
      if (golden.startsWith("grad ")) {
        grads.add(Memory.words(golden));
      }
    }
    MemorySegment w = Memory.words(GOLDEN.getFirst());
    int n = Math.toIntExact(w.byteSize() / 4);
    MemorySegment state = MemorySegment.ofArray(new byte[4 * n * optimizer.slots()]);
    int at = GOLDEN.indexOf(line);
    for (int step = 1; step <= grads.size(); step++) {
      MemorySegment g = grads.get(step - 1);
      optimizer.step(Kernels.best(), step, w, 0, g, 0, state, 0, 4L * n, n);
      close(w, Memory.words(GOLDEN.get(at + step)), "w at step " + step);
    }
    for (int slot = 0; slot < optimizer.slots(); slot++) {
      String golden = GOLDEN.get(at + grads.size() + 1 + slot);
      assertThat(golden).startsWith("slot ");
      close(state.asSlice(4L * n * slot, 4L * n), Memory.words(golden), "slot " + slot);
    }
  }

  private static Optimizer parse(String line) {
    String[] words = line.split(" ", -1);
    Map<String, Double> hyper = new HashMap<>();
    for (int i = 2; i < words.length; i++) {
      int equals = words[i].indexOf('=');
      hyper.put(words[i].substring(0, equals), Double.valueOf(words[i].substring(equals + 1)));
    }
    return Optimizer.of(words[1], hyper);
  }

  /**
   * PyTorch fuses some multiplications and additions: a few units in the last place, of the values
   * that were added where they cancel.
   */
  private static void close(MemorySegment actual, MemorySegment expected, String what) {
    float[] a = Memory.floats(actual);
    float[] e = Memory.floats(expected);
    float largest = 0;
    for (float value : e) {
      largest = Math.max(largest, Math.abs(value));
    }
    for (int i = 0; i < e.length; i++) {
      float magnitude = Math.max(Math.abs(e[i]), largest / 4);
      double ulps = Math.abs((double) a[i] - e[i]) / Math.ulp(magnitude);
      assertThat(ulps).as("%s[%d]: %s is not %s", what, i, a[i], e[i]).isLessThanOrEqualTo(4);
    }
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
                0.0));
    assertThat(Optimizer.of("adam", Map.of()).hyper())
        .containsExactlyInAnyOrderEntriesOf(
            Map.of("lr", 1e-3, "beta1", 0.9, "beta2", 0.999, "eps", 1e-8, "weight_decay", 0.0));
    assertThat(Optimizer.of("adamw", Map.of("lr", 0.5)).hyper())
        .containsExactlyInAnyOrderEntriesOf(
            Map.of("lr", 0.5, "beta1", 0.9, "beta2", 0.999, "eps", 1e-8, "weight_decay", 1e-2));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void completeHyperParametersMakeTheSameOptimizer(String line) {
    Optimizer optimizer = parse(line);
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
    assertThatThrownBy(() -> Optimizer.of("lion", Map.of()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("\"lion\" known=sgd, adam, adamw");
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
