package io.tensorhold.cli.demo;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

class DemoPartsTest {
  @Test
  void tokensAreThoseOfBert() throws IOException {
    try (InputStream in =
        DemoCommand.class.getResourceAsStream("/all-minilm-l6-v2-tokenizer.json")) {
      WordPiece tokenizer = new WordPiece(java.util.Objects.requireNonNull(in));
      assertThat(tokenizer.encode("hello world")).containsExactly(101, 7592, 2088, 102);
      assertThat(tokenizer.encode("Héllo,  WORLD!"))
          .containsExactly(101, 7592, 1010, 2088, 999, 102);
      assertThat(tokenizer.encode("")).containsExactly(101, 102);
      assertThat(tokenizer.encode("a ".repeat(1000))).hasSize(256);
    }
  }

  @Test
  void gradientIsTheSlopeOfTheLossAndTrainingReachesPca() {
    Random random = new Random(5);
    float[] rows = new float[2000 * Autoencoder.WIDTH];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = (float) (random.nextGaussian() * Math.exp(-(i % Autoencoder.WIDTH) / 200.0) / 20);
    }
    float[] covariance = Autoencoder.covariance(rows, 1.0 / 2000);
    Autoencoder autoencoder = new Autoencoder(covariance);
    float[][] start = Autoencoder.start(3);
    float[] e = start[0];
    float[] d = start[1];
    float[] gradE = new float[e.length];
    float[] gradD = new float[d.length];
    double loss = autoencoder.gradients(e, d, gradE, gradD);
    float[] moved = e.clone();
    double slope = 0;
    for (int i = 0; i < e.length; i++) {
      moved[i] -= 1e-3f * gradE[i];
      slope += (double) gradE[i] * gradE[i];
    }
    assertThat((loss - autoencoder.loss(moved, d)) / 1e-3 / slope).isBetween(0.98, 1.02);

    Optimizer adam = Optimizer.of("adam", Map.of("lr", 0.003));
    byte[] stateE = new byte[8 * e.length];
    byte[] stateD = new byte[8 * d.length];
    for (int step = 1; step <= 300; step++) {
      loss = autoencoder.gradients(e, d, gradE, gradD);
      step(adam, step, e, gradE, stateE);
      step(adam, step, d, gradD, stateD);
    }
    assertThat(loss)
        .isBetween(
            Autoencoder.optimum(covariance) * 0.9999, Autoencoder.optimum(covariance) * 1.05);
  }

  private static void step(Optimizer adam, int step, float[] w, float[] g, byte[] state) {
    adam.step(
        Kernels.scalar(),
        step,
        MemorySegment.ofArray(w),
        0,
        MemorySegment.ofArray(g),
        0,
        MemorySegment.ofArray(state),
        0,
        4L * w.length,
        w.length);
  }
}
