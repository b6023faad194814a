package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class InitializerTest {
  private static final int N = 1 << 20;
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private static float[] fill(Kernels kernels, Initializer initializer, long seed, int n) {
    MemorySegment memory = MemorySegment.ofArray(new byte[4 * n]);
    initializer.fill(kernels, seed, memory, 0, n);
    return memory.toArray(F32);
  }

  @ParameterizedTest
  @ValueSource(strings = {"zeros", "constant", "uniform", "normal", "truncated_normal", "xavier"})
  void simdAndScalarAreEqualBitForBitAtAnyLength(String kind) {
    Initializer initializer = Initializer.of(kind, Map.of(), 64);
    for (int n : List.of(1, 7, 16, 33, 64, 1000, 1 << 18)) {
      long seed = Initializer.rowSeed(3, n * 0x1234_5678_9abcL);
      assertThat(fill(Kernels.best(), initializer, seed, n))
          .as("%s of %d", kind, n)
          .isEqualTo(fill(Kernels.scalar(), initializer, seed, n));
    }
  }

  @Test
  void valuesNeverChange() {
    // Rows that were never written are these values on every server: a change would tear tables.
    long seed = Initializer.rowSeed(7, -5);
    assertThat(seed).isEqualTo(SEED_OF_7_AND_MINUS_5);
    assertThat(fill(Kernels.scalar(), Initializer.of("uniform", Map.of(), 4), seed, 4))
        .containsExactly(UNIFORM);
    float[] normal = fill(Kernels.scalar(), Initializer.of("normal", Map.of(), 4), seed, 4);
    for (int i = 0; i < 4; i++) {
      assertThat((double) normal[i]).isCloseTo(NORMAL[i], within(2e-8));
    }
  }

  private static final long SEED_OF_7_AND_MINUS_5 = 8558736106544398054L;
  private static final float[] UNIFORM = {0.013076682f, -0.024542494f, -0.009034395f, 0.01266918f};

  /** Of a bit-for-bit check of the hash and an f64 erfinv, both in Python. */
  private static final double[] NORMAL = {-0.0561386780, 0.0344478925, 0.0669320081, -0.0571084600};

  @Test
  void uniformHasItsMeanAndVarianceAndStaysInside() {
    float[] x =
        fill(Kernels.best(), Initializer.of("uniform", Map.of("low", 2.0, "high", 5.0), 8), 1, N);
    assertThat(mean(x)).isCloseTo(3.5, within(5 * 3 / Math.sqrt(12.0 * N)));
    assertThat(variance(x)).isCloseTo(9 / 12.0, within(0.005));
    for (float value : x) {
      assertThat(value).isBetween(2f, 5f);
    }
  }

  @Test
  void xavierIsBoundedByItsFans() {
    float[] x =
        fill(
            Kernels.best(),
            Initializer.of("xavier", Map.of("fan_in", 2.0, "fan_out", 4.0), 8),
            1,
            N);
    assertThat(variance(x)).isCloseTo(2.0 / 6, within(0.002));
    assertThat(largest(x)).isBetween(0.99, 1.0);
    assertThat(Initializer.of("xavier", Map.of(), 64).hyper())
        .isEqualTo(Map.of("fan_in", 64.0, "fan_out", 64.0));
  }

  @Test
  void normalHasTheMomentsAndTailsOfANormalDistribution() {
    float[] z =
        fill(Kernels.best(), Initializer.of("normal", Map.of("mean", 1.0, "std", 2.0), 8), 9, N);
    double error = 5 / Math.sqrt(N);
    assertThat(mean(z)).isCloseTo(1, within(2 * error));
    assertThat(variance(z)).isCloseTo(4, within(4 * Math.sqrt(2) * error));
    for (double sigmas : new double[] {0.5, 1, 2, 3, 4}) {
      double expected = OUTSIDE.get(sigmas);
      double seen = 0;
      for (float value : z) {
        seen += Math.abs(value - 1) > 2 * sigmas ? 1 : 0;
      }
      assertThat(seen / N)
          .as("beyond %s sigmas", sigmas)
          .isCloseTo(expected, within(5 * Math.sqrt(expected / N)));
    }
  }

  /** Share of a normal distribution that is further from the mean, from tables. */
  private static final Map<Double, Double> OUTSIDE =
      Map.of(
          0.5,
          0.6170750775,
          1.0,
          0.3173105079,
          2.0,
          0.0455002639,
          3.0,
          0.0026997961,
          4.0,
          6.33425e-5);

  @Test
  void quantilesAreThoseOfTheTables() {
    // Φ⁻¹ at 0.75, 0.975, 0.995, 0.9995 and 1 − 2⁻²⁰.
    double[] shares = {0.5, 0.95, 0.99, 0.999, 1 - 0x1p-19};
    double[] quantiles = {0.6744897502, 1.9599639845, 2.5758293035, 3.2905267315, 4.7630010343};
    for (int i = 0; i < shares.length; i++) {
      assertThat((double) NormalQuantile.of((float) shares[i]))
          .isCloseTo(quantiles[i], within(2e-5));
      assertThat(NormalQuantile.of((float) -shares[i]))
          .isEqualTo(-NormalQuantile.of((float) shares[i]));
    }
  }

  @Test
  void truncatedNormalStaysWithinTwoStandardDeviations() {
    float[] z =
        fill(Kernels.best(), Initializer.of("truncated_normal", Map.of("std", 1.0), 8), 9, N);
    assertThat(largest(z)).isBetween(1.99, 2.0);
    assertThat(variance(z)).isCloseTo(0.7737413, within(0.005)); // 1 − 4 φ(2) / erf(√2)
    assertThat(mean(z)).isCloseTo(0, within(5 / Math.sqrt(N)));
  }

  @Test
  void rowsOfNeighbouringKeysAndTablesDiffer() {
    Initializer uniform = Initializer.of("uniform", Map.of(), 8);
    float[] one = fill(Kernels.best(), uniform, Initializer.rowSeed(1, 1), 64);
    assertThat(fill(Kernels.best(), uniform, Initializer.rowSeed(1, 2), 64)).isNotEqualTo(one);
    assertThat(fill(Kernels.best(), uniform, Initializer.rowSeed(2, 1), 64)).isNotEqualTo(one);
    assertThat(fill(Kernels.best(), uniform, Initializer.rowSeed(1, 1), 64)).isEqualTo(one);
  }

  @Test
  void whatIsWrongIsNamed() {
    assertThatThrownBy(() -> Initializer.of("gauss", Map.of(), 8))
        .hasMessageContaining("value=\"gauss\"")
        .hasMessageContaining("truncated_normal");
    assertThatThrownBy(() -> Initializer.of("normal", Map.of("std", -1.0), 8))
        .hasMessageContaining("std")
        .hasMessageContaining("-1.0");
    assertThatThrownBy(() -> Initializer.of("uniform", Map.of("low", 1.0, "high", 0.5), 8))
        .hasMessageContaining("low=1.0 high=0.5");
    assertThatThrownBy(() -> Initializer.of("zeros", Map.of("value", 1.0), 8))
        .hasMessageContaining("\"value\"");
  }

  private static double mean(float[] x) {
    double sum = 0;
    for (float value : x) {
      sum += value;
    }
    return sum / x.length;
  }

  private static double variance(float[] x) {
    double mean = mean(x);
    double sum = 0;
    for (float value : x) {
      sum += (value - mean) * (value - mean);
    }
    return sum / x.length;
  }

  private static double largest(float[] x) {
    double largest = 0;
    for (float value : x) {
      largest = Math.max(largest, Math.abs(value));
    }
    return largest;
  }
}
