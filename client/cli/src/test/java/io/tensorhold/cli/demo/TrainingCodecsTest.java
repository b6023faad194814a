package io.tensorhold.cli.demo;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

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
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * The demo's autoencoder, trained with Adam under codecs of weights and of optimizer state, by the
 * arithmetic that a shard does on its blocks.
 */
class TrainingCodecsTest {
  private static final int STEPS = 400;
  private static final Kernels KERNELS = Kernels.best();

  /** A tensor as a block keeps it: encoded weights, and state. */
  private static final class Tensor {
    private final int n;
    private final Codec codec;
    private final UpdateRule rule;
    private final boolean linearState;
    private final long id;
    private final MemorySegment coded;
    private final MemorySegment state;
    private final MemorySegment scratch;
    private final float[] w;

    Tensor(long id, float[] start, Codec codec, UpdateRule rule, boolean linearState) {
      this.id = id;
      this.n = start.length;
      this.codec = codec;
      this.rule = rule;
      this.linearState = linearState;
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
      if (linearState) {
        roundLinearly();
      }
    }

    /** What plain linear 8-bit state would keep. */
    private void roundLinearly() {
      int values = 2 * n;
      MemorySegment bytes =
          MemorySegment.ofArray(new byte[(int) Codec.Q8_LINEAR.bytes(DType.F32, values)]);
      Codec.Q8_LINEAR.encode(KERNELS, state, 0, bytes, 0, values);
      Codec.Q8_LINEAR.decode(KERNELS, bytes, 0, state, 0, values);
    }
  }

  private static float[] covariance() {
    Random random = new Random(5);
    float[] rows = new float[2000 * Autoencoder.WIDTH];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = (float) (random.nextGaussian() * Math.exp(-(i % Autoencoder.WIDTH) / 100.0) / 20);
    }
    return Autoencoder.covariance(rows, 1.0 / 2000);
  }

  /** The loss before each step, and after the last. */
  private static double[] train(
      Codec weights, Rounding rounding, StateCodec state, boolean linearState) {
    UpdateRule rule =
        new UpdateRule(
            Optimizer.of("adam", Map.of("lr", 0.003)),
            Schedule.of("cosine", Map.of("period", (double) STEPS, "warmup", 20.0)),
            0,
            0,
            state,
            rounding);
    Autoencoder autoencoder = new Autoencoder(covariance());
    float[][] start = Autoencoder.start(3);
    Tensor encoder = new Tensor(1, start[0], weights, rule, linearState);
    Tensor decoder = new Tensor(2, start[1], weights, rule, linearState);
    float[] gradientE = new float[encoder.n];
    float[] gradientD = new float[decoder.n];
    double[] losses = new double[STEPS + 1];
    for (int step = 1; step <= STEPS; step++) {
      losses[step - 1] = autoencoder.gradients(encoder.w, decoder.w, gradientE, gradientD);
      encoder.step(step, gradientE);
      decoder.step(step, gradientD);
    }
    losses[STEPS] = autoencoder.loss(encoder.w, decoder.w);
    return losses;
  }

  @Test
  void eightBitAdamStateEndsWithinAPercentOfF32State() {
    double f32 = train(Codec.F32, Rounding.NEAREST, StateCodec.F32, false)[STEPS];
    double float8 = train(Codec.F32, Rounding.NEAREST, StateCodec.FLOAT8, false)[STEPS];
    assertThat(f32).isLessThan(Autoencoder.optimum(covariance()) * 1.05);
    assertThat(float8).isBetween(f32 * 0.99, f32 * 1.01);
  }

  /** Writes the data of docs/loss-curves.svg where the property says. */
  @Test
  void lossCurvesAreWritten() throws IOException {
    String file = System.getProperty("tensorhold.loss-curves", "");
    assumeTrue(!file.isEmpty(), "left out: -Dtensorhold.loss-curves=FILE asks for it");
    List<String> names = new ArrayList<>();
    List<double[]> runs = new ArrayList<>();
    for (Codec codec : Codec.values()) {
      if (codec.computable() && codec.storable()) {
        names.add(codec.label() + " weights");
        runs.add(train(codec, Rounding.NEAREST, StateCodec.F32, false));
      }
      if (codec.stochastic()) {
        names.add(codec.label() + " weights stochastic");
        runs.add(train(codec, Rounding.STOCHASTIC, StateCodec.F32, false));
      }
    }
    names.add("float8 state");
    runs.add(train(Codec.F32, Rounding.NEAREST, StateCodec.FLOAT8, false));
    names.add("bf16 weights stochastic and float8 state");
    runs.add(train(Codec.BF16, Rounding.STOCHASTIC, StateCodec.FLOAT8, false));
    names.add("linear int8 state");
    runs.add(train(Codec.F32, Rounding.NEAREST, StateCodec.F32, true));
    List<String> lines = new ArrayList<>();
    lines.add("# optimum " + Autoencoder.optimum(covariance()));
    lines.add("step," + String.join(",", names));
    for (int step = 0; step <= STEPS; step += 4) {
      StringBuilder line = new StringBuilder().append(step);
      for (double[] run : runs) {
        line.append(String.format(Locale.ROOT, ",%.6g", run[step]));
      }
      lines.add(line.toString());
    }
    Files.write(Path.of(file), lines);
  }
}
