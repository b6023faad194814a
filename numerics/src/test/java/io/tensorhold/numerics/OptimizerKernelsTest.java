package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What surrounds an optimizer's step: clipping, sums, 8-bit state; SIMD against scalar. */
class OptimizerKernelsTest {
  private static final OptimizerKernels SCALAR = Kernels.scalar().optimizers();
  private static final OptimizerKernels SIMD = new VectorKernels().optimizers();

  private final Random random = new Random(43);

  private static int[] lengths() {
    return IntStream.concat(
            IntStream.rangeClosed(0, 70), IntStream.of(255, 256, 257, 511, 512, 513, 1000))
        .toArray();
  }

  @Test
  void sumsOfSquaresAreBitEqualInAllKernels() {
    for (int n : lengths()) {
      for (int kind = 0; kind < 2; kind++) {
        MemorySegment x = kind == 0 ? Memory.hard(random, n) : Memory.gaussian(random, n, 1e-3);
        MemorySegment shifted = Memory.shifted(x, n % 4, true);
        double expected = SCALAR.sumOfSquares(x, 0, n);
        assertThat(Double.doubleToRawLongBits(SIMD.sumOfSquares(shifted, n % 4, n)))
            .as("n=%d", n)
            .isEqualTo(Double.doubleToRawLongBits(expected));
      }
    }
  }

  /** The order as it is documented, written once more, in another way. */
  @Test
  void sumsOfSquaresHaveTheDocumentedOrder() {
    int n = 999;
    float[] x = Memory.floats(Memory.gaussian(random, n, 1));
    double[] lanes = new double[16];
    for (int i = 0; i < n; i++) {
      lanes[i % 16] += (double) x[i] * x[i];
    }
    for (int half = 8; half > 0; half /= 2) {
      for (int j = 0; j < half; j++) {
        lanes[j] += lanes[j + half];
      }
    }
    assertThat(SCALAR.sumOfSquares(Memory.ofFloats(x), 0, n)).isEqualTo(lanes[0]);
  }

  @Test
  void penaltiesClampingAndDirectionsAreBitEqual() {
    Lamb.Factors lamb = new Lamb.Factors(0.1f, 0.1f, 0.9f, 0.1f, 0.2f, 0.4f, 1e-6f, 0.01f);
    for (int n : lengths()) {
      MemorySegment w = Memory.hard(random, n);
      MemorySegment state = Memory.hard(random, 2 * n);
      MemorySegment g = Memory.hard(random, n);
      MemorySegment a = Memory.shifted(g, 0, false);
      MemorySegment b = Memory.shifted(g, 0, true);
      SCALAR.addL1(0.3f, w, 0, a, 0, n);
      SIMD.addL1(0.3f, w, 0, b, 0, n);
      assertThat(Memory.hex(b)).isEqualTo(Memory.hex(a));
      SCALAR.clamp(0.7f, a, 0, n);
      SIMD.clamp(0.7f, b, 0, n);
      assertThat(Memory.hex(b)).isEqualTo(Memory.hex(a));
      SCALAR.lambDirection(lamb, w, 0, a, 0, state, 0, 4L * n, n);
      SIMD.lambDirection(lamb, w, 0, b, 0, state, 0, 4L * n, n);
      assertThat(Memory.hex(b)).isEqualTo(Memory.hex(a));
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void eightBitStateIsBitEqualInAllKernels(boolean signed) {
    for (int n : lengths()) {
      for (int kind = 0; kind < 3; kind++) {
        MemorySegment x =
            kind == 0 ? Memory.hard(random, n) : Memory.gaussian(random, n, kind == 1 ? 1 : 1e-37);
        int size = Math.toIntExact(Float8State.bytes(n));
        MemorySegment a = MemorySegment.ofArray(new byte[size]);
        MemorySegment b = MemorySegment.ofArray(new byte[size]);
        SCALAR.encodeState(signed, 77, x, 0, a, 0, n);
        SIMD.encodeState(signed, 77, Memory.shifted(x, 3, true), 3, b, 0, n);
        assertThat(Memory.hex(b)).as("n=%d", n).isEqualTo(Memory.hex(a));
        random.nextBytes(Memory.bytes(a));
        MemorySegment back = MemorySegment.ofArray(new byte[4 * n]);
        MemorySegment simd = MemorySegment.ofArray(new byte[4 * n]);
        SCALAR.decodeState(signed, a, 0, back, 0, n);
        SIMD.decodeState(signed, a, 0, simd, 0, n);
        assertThat(Memory.hex(simd)).isEqualTo(Memory.hex(back));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void eightBitStateIsWithinAnEighthAndRightInTheMean(boolean signed) {
    int n = 256;
    float[] x = Memory.floats(Memory.gaussian(random, n, 1e-3));
    x[9] = 0;
    if (!signed) {
      for (int i = 0; i < n; i++) {
        x[i] *= x[i];
      }
    }
    double[] mean = new double[n];
    int rounds = 4000;
    for (int seed = 0; seed < rounds; seed++) {
      float[] back = there(signed, seed, x);
      assertThat(back[9]).isZero();
      for (int i = 0; i < n; i++) {
        assertThat(Math.abs(back[i] - x[i])).isLessThanOrEqualTo(Math.abs(x[i]) / 8);
        mean[i] += back[i] / (double) rounds;
      }
    }
    // A step of the code is 1/8 at most: the standard error of the mean is below 1/16 / √rounds.
    for (int i = 0; i < n; i++) {
      assertThat(mean[i]).isCloseTo(x[i], within(Math.abs(x[i]) * 6 / 16 / Math.sqrt(rounds)));
    }
  }

  private static float[] there(boolean signed, long seed, float[] x) {
    MemorySegment coded = MemorySegment.ofArray(new byte[(int) Float8State.bytes(x.length)]);
    MemorySegment back = MemorySegment.ofArray(new byte[4 * x.length]);
    SIMD.encodeState(signed, seed, Memory.ofFloats(x), 0, coded, 0, x.length);
    SIMD.decodeState(signed, coded, 0, back, 0, x.length);
    return Memory.floats(back);
  }

  @Test
  void roundedStateIsNotRoundedAgainWhenItsGroupGrows() {
    float[] once = there(true, 5, Memory.floats(Memory.gaussian(random, 256, 1)));
    float[] grown = once.clone();
    grown[0] = 40;
    float[] twice = there(true, 6, grown);
    float smallest = 40 * 0x1p-15f;
    for (int i = 1; i < once.length; i++) {
      if (Math.abs(once[i]) > smallest) {
        assertThat(twice[i]).isEqualTo(once[i]);
      }
    }
  }

  @Test
  void stateFarBelowTheLargestOfItsGroup() {
    float[] x = new float[256];
    x[0] = 1;
    x[1] = 1e-12f;
    assertThat(there(false, 1, x)[1]).as("a second moment stays above 0").isGreaterThan(0);
    // The largest, 1, has code 126: the smallest is 125 codes, 15 octaves and 5 eighths, below.
    float smallest = 0x1p-16f * (1 + 3 / 8f);
    int kept = 0;
    for (int seed = 0; seed < 1000; seed++) {
      x[1] = -smallest / 2;
      float value = there(true, seed, x)[1];
      assertThat(value).isIn(0f, -smallest);
      kept += value == 0 ? 0 : 1;
    }
    assertThat(kept).as("a mean is right in the mean").isBetween(420, 580);
  }

  @Test
  void eightBitAdamTakesTwoBytesAndAHundredthOfState() {
    Optimizer adam = Optimizer.of("adam", Map.of());
    assertThat(StateCodec.FLOAT8.bytes(adam, 262_144) / 262_144.0).isEqualTo(2 + 4 / 256.0);
    assertThat(StateCodec.F32.bytes(adam, 100)).isEqualTo(800);
    assertThat(StateCodec.FLOAT8.bytes(adam, 257)).isEqualTo(2 * (257 + 4));
  }

  @Test
  void clipAndTrustAreThoseOfTheirSources() {
    assertThat(Norms.clipCoefficient(25, 1)).isEqualTo((float) (1 / (5 + 1e-6)));
    assertThat(Norms.clipCoefficient(0.25, 1)).isEqualTo(1);
    assertThat(Norms.trustRatio(9, 4)).isEqualTo(1.5f);
    for (double[] zero : List.of(new double[] {0, 1}, new double[] {1, 0})) {
      assertThat(Norms.trustRatio(zero[0], zero[1])).isEqualTo(1);
    }
  }
}
