package io.tensorhold.cli.demo;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.StochasticRounding;
import io.tensorhold.numerics.UpdateRule;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The demo's job, on every eighth word embedding of MiniLM, under codecs of weights and of Adam's
 * state, by the arithmetic that a shard does on its blocks. {@code tensorhold compare --weights}
 * does the whole job through a server: docs/numerics.md.
 */
class TrainingCodecsTest {
  private static final int STEPS = 200;
  private static final Kernels KERNELS = Kernels.best();
  private static float[] covariance = {};
  private static double optimum;

  /** A tensor as a block keeps it: encoded weights, and state. */
  private static final class Tensor {
    private final int n;
    private final Codec codec;
    private final UpdateRule rule;
    private final long id;
    private final MemorySegment coded;
    private final MemorySegment state;
    private final MemorySegment scratch;
    private final float[] w;

    Tensor(long id, float[] start, Codec codec, UpdateRule rule) {
      this.id = id;
      this.n = start.length;
      this.codec = codec;
      this.rule = rule;
      coded = MemorySegment.ofArray(new byte[(int) codec.bytes(DType.F32, n)]);
      state = MemorySegment.ofArray(new byte[(int) rule.stateBytes(n)]);
      scratch = MemorySegment.ofArray(new byte[(int) rule.scratchBytes()]);
      w = start.clone();
      rule.initialize(KERNELS, state, 0, n);
      codec.encode(KERNELS, MemorySegment.ofArray(w), 0, coded, 0, n);
      codec.decode(KERNELS, coded, 0, MemorySegment.ofArray(w), 0, n);
    }

    void step(int step, float[] gradient) {
      MemorySegment weights = MemorySegment.ofArray(w);
      long seed = StochasticRounding.seed(id, 0, step, 0);
      UpdateRule.Command command = new UpdateRule.Command(step, 1, 1, seed);
      MemorySegment g = MemorySegment.ofArray(gradient);
      rule.step(KERNELS, command, weights, 0, g, 0, state, 0, 0, n, n, scratch);
      if (rule.stochastic(codec)) {
        long from = UpdateRule.weightSeed(command, 0);
        codec.encodeStochastic(KERNELS, weights, 0, coded, 0, n, from);
      } else {
        codec.encode(KERNELS, weights, 0, coded, 0, n);
      }
      codec.decode(KERNELS, coded, 0, weights, 0, n);
    }
  }

  @BeforeAll
  static void readEmbeddings() throws IOException {
    float[] all = WordEmbeddings.rows();
    int rows = all.length / Autoencoder.WIDTH / 8;
    float[] some = new float[rows * Autoencoder.WIDTH];
    for (int row = 0; row < rows; row++) {
      System.arraycopy(
          all, 8 * row * Autoencoder.WIDTH, some, row * Autoencoder.WIDTH, Autoencoder.WIDTH);
    }
    covariance = Autoencoder.covariance(some, 1.0 / rows);
    optimum = Autoencoder.optimum(covariance);
  }

  /** How far above the optimum training ends, as a share of it. */
  private static double excess(Codec weights, Rounding rounding, StateCodec state) {
    UpdateRule rule =
        new UpdateRule(
            Optimizer.of("adam", Map.of("lr", ComparedRun.LEARNING_RATE)),
            Schedule.of("cosine", Map.of("period", (double) STEPS)),
            0,
            0,
            state,
            rounding);
    Autoencoder autoencoder = new Autoencoder(covariance);
    float[][] start = Autoencoder.start(3);
    Tensor encoder = new Tensor(1, start[0], weights, rule);
    Tensor decoder = new Tensor(2, start[1], weights, rule);
    float[] gradientE = new float[encoder.n];
    float[] gradientD = new float[decoder.n];
    for (int step = 1; step <= STEPS; step++) {
      autoencoder.gradients(encoder.w, decoder.w, gradientE, gradientD);
      encoder.step(step, gradientE);
      decoder.step(step, gradientD);
    }
    return autoencoder.loss(encoder.w, decoder.w) / optimum - 1;
  }

  @Test
  void eightBitAdamStateEndsWithinAPercentOfF32State() {
    double f32 = excess(Codec.F32, Rounding.NEAREST, StateCodec.F32);
    double float8 = excess(Codec.F32, Rounding.NEAREST, StateCodec.FLOAT8);
    assertThat(f32).isBetween(0.0, 0.02);
    assertThat((1 + float8) / (1 + f32)).isBetween(0.99, 1.01);
  }

  @ParameterizedTest
  @EnumSource(
      value = Codec.class,
      names = {"FP8_E4M3", "Q4_0", "NF4"})
  void weightsOfFewBitsConvergeWhenTheyAreRoundedStochastically(Codec codec) {
    double nearest = excess(codec, Rounding.NEAREST, StateCodec.F32);
    double stochastic = excess(codec, Rounding.STOCHASTIC, StateCodec.F32);
    assertThat(stochastic).isBetween(0.0, codec == Codec.FP8_E4M3 ? 0.02 : 0.08);
    assertThat(nearest).as("nearest, which stands still").isGreaterThan(3 * stochastic);
  }
}
