package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Runs optimizers on the weights and gradients of src/test/python/optimizers.py, reads what it
 * wrote, and measures how far they are apart.
 */
final class OptimizerReference {
  static final List<String> GOLDEN_CASES = Memory.golden("optimizers.txt");

  private static final int STEPS = 200;
  private static final int N = 1024;

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

  /** Weights after the first and the last step, and the slots after the last. */
  record Run(MemorySegment first, MemorySegment last, MemorySegment slots) {}

  /** The runs that the script writes of a case. */
  record Expected(Run asShipped, Run withRoundedRoots) {}

  /** What the script wrote for a case, in what it wrote for all of them. */
  static Expected expected(String line, MemorySegment all) {
    long at = 0;
    for (String before : GOLDEN_CASES) {
      if (before.equals(line)) {
        break;
      }
      at += 2 * bytes(before);
    }
    return new Expected(read(all, at, bytes(line)), read(all, at + bytes(line), bytes(line)));
  }

  private static long bytes(String line) {
    return 4L * (2 * N + parse(line).stateValues(N));
  }

  private static Run read(MemorySegment all, long at, long bytes) {
    return new Run(
        all.asSlice(at, 4L * N),
        all.asSlice(at + 4L * N, 4L * N),
        all.asSlice(at + 8L * N, bytes - 8L * N));
  }

  /** Runs a case with our kernels. */
  static Run run(Kernels k, String line, int seed) {
    Optimizer optimizer = parse(line);
    MemorySegment w = values(seed, 0);
    MemorySegment state =
        MemorySegment.ofArray(new byte[Math.toIntExact(4 * optimizer.stateValues(N))]);
    UpdateRule.of(optimizer).initialize(k, state, 0, N);
    long stride = optimizer.slots() == 0 ? 0 : state.byteSize() / optimizer.slots();
    float trust = optimizer.needsTrust() ? 0.5f : 1;
    MemorySegment first = w;
    for (int step = 1; step <= STEPS; step++) {
      MemorySegment g = values(seed, step);
      Optimizer.Step now = new Optimizer.Step(step, 1, trust);
      optimizer.step(k, now, w, 0, g, 0, state, 0, stride, N);
      if (step == 1) {
        first = Memory.shifted(w, 0, false);
      }
    }
    return new Run(first, w, state);
  }

  /** The share of elements that are within 1 ulp of what is expected: of its own ulp. */
  static double near(MemorySegment actualValues, MemorySegment expectedValues) {
    float[] actual = Memory.floats(actualValues);
    float[] expected = Memory.floats(expectedValues);
    int near = 0;
    for (int i = 0; i < expected.length; i++) {
      if (Math.abs((double) actual[i] - expected[i]) <= Math.ulp(expected[i])) {
        near++;
      }
    }
    return (double) near / expected.length;
  }

  /**
   * The largest difference, in units in the last place of the value expected, or of a tenth of the
   * largest value where that is more: what has cancelled to nearly 0 keeps the error of its terms.
   */
  static double worst(MemorySegment actualValues, MemorySegment expectedValues) {
    float[] actual = Memory.floats(actualValues);
    float[] expected = Memory.floats(expectedValues);
    float largest = 0;
    for (float value : expected) {
      largest = Math.max(largest, Math.abs(value));
    }
    double worst = 0;
    for (int i = 0; i < expected.length; i++) {
      float magnitude = Math.max(Math.abs(expected[i]), largest / 10);
      worst = Math.max(worst, Math.abs((double) actual[i] - expected[i]) / Math.ulp(magnitude));
    }
    return worst;
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
