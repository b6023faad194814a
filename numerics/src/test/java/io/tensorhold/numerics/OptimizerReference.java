package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Runs optimizers on the weights and gradients of src/test/python/optimizers.py, and compares with
 * what it wrote.
 */
final class OptimizerReference {
  static final List<String> GOLDEN_CASES = Memory.golden("optimizers.txt");

  private static final int STEPS = 200;
  private static final int N = 1024;

  /**
   * How far weights and slots may be from the reference after 200 steps: in units in the last place
   * of the value, or of a tenth of the largest value where that is more. The reference fuses some
   * multiplications and additions, and the differences of 200 steps add up, or are divided by a
   * root that has come near eps.
   */
  private static final int BOUND_AFTER_ALL_STEPS = 32;

  private OptimizerReference() {}

  static Optimizer parse(String line) {
    String[] words = line.split(" ", -1);
    Map<String, Double> hyper = new HashMap<>();
    for (int i = 1; i < words.length; i++) {
      int equals = words[i].indexOf('=');
      hyper.put(words[i].substring(0, equals), Double.valueOf(words[i].substring(equals + 1)));
    }
    return Optimizer.of(words[0], hyper);
  }

  /** Bytes that the script writes for a case. */
  static long bytes(String line) {
    return 4L * (2 * N + parse(line).stateValues(N));
  }

  /**
   * Compares a case with what the script wrote for it.
   *
   * @return the share of elements that are within 1 ulp of it after one step: of the weight before,
   *     after, or of its change, whichever is largest, because in a change that cancels the weight
   *     every rounding before it is many ulps of what is left
   */
  static double compare(String line, int seed, MemorySegment expected) {
    Optimizer optimizer = parse(line);
    MemorySegment w = values(seed, 0);
    MemorySegment state =
        MemorySegment.ofArray(new byte[Math.toIntExact(4 * optimizer.stateValues(N))]);
    UpdateRule.of(optimizer).initialize(Kernels.best(), state, 0, N);
    long stride = optimizer.slots() == 0 ? 0 : state.byteSize() / optimizer.slots();
    float trust = optimizer.needsTrust() ? 0.5f : 1;
    int near = 0;
    for (int step = 1; step <= STEPS; step++) {
      MemorySegment g = values(seed, step);
      Optimizer.Step now = new Optimizer.Step(step, 1, trust);
      optimizer.step(Kernels.best(), now, w, 0, g, 0, state, 0, stride, N);
      if (step == 1) {
        near =
            afterOneStep(
                line,
                Memory.floats(values(seed, 0)),
                Memory.floats(w),
                Memory.floats(expected.asSlice(0, 4L * N)));
      }
    }
    afterAll(line + ", weights", Memory.floats(w), Memory.floats(expected.asSlice(4L * N, 4L * N)));
    float[] slots = Memory.floats(expected.asSlice(8L * N));
    afterAll(line + ", slots", Memory.floats(state), slots);
    return (double) near / N;
  }

  private static int afterOneStep(String line, float[] before, float[] actual, float[] expected) {
    int near = 0;
    for (int i = 0; i < N; i++) {
      float moved = Math.abs(expected[i] - before[i]);
      float magnitude = Math.max(Math.max(Math.abs(before[i]), Math.abs(expected[i])), moved);
      if (Math.abs(actual[i] - expected[i]) <= Math.ulp(magnitude)) {
        near++;
      }
    }
    assertThat(near).as("near after one step of %s", line).isGreaterThanOrEqualTo(N - 5);
    return near;
  }

  private static void afterAll(String what, float[] actual, float[] expected) {
    assertThat(actual).hasSameSizeAs(expected);
    float largest = 0;
    for (float value : expected) {
      largest = Math.max(largest, Math.abs(value));
    }
    double worst = 0;
    for (int i = 0; i < actual.length; i++) {
      float magnitude = Math.max(Math.abs(expected[i]), largest / 10);
      worst = Math.max(worst, Math.abs((double) actual[i] - expected[i]) / Math.ulp(magnitude));
    }
    assertThat(worst).as(what).isLessThanOrEqualTo(BOUND_AFTER_ALL_STEPS);
  }

  private static MemorySegment values(int seed, int step) {
    float[] values = new float[N];
    for (int i = 0; i < N; i++) {
      float unit = (hash(seed, step, i) >>> 8) * 0x1p-23f - 1;
      values[i] = step == 0 ? unit : unit * Math.scalb(1f, (hash(seed, 0, i) >>> 4) % 16 - 12);
    }
    return Memory.ofFloats(values);
  }

  private static int hash(int seed, int step, int i) {
    int x = i * 0x9e3779b9 + step * 0x85ebca6b + seed * 0xc2b2ae35;
    x = (x ^ (x >>> 16)) * 0x21f0aaad;
    x = (x ^ (x >>> 15)) * 0x735a2d97;
    return x ^ (x >>> 15);
  }
}
