package io.tensorhold.cli.demo;

import java.util.Random;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.EigenDecomposition_F64;

/**
 * A linear autoencoder: the loss is the mean of ‖x − D E x‖² over the rows x of a matrix, with E of
 * {@value #HIDDEN} × {@value #WIDTH} and D of {@value #WIDTH} × {@value #HIDDEN}.
 *
 * <p>The rows enter through C, the mean of x xᵀ, alone, so a worker's gradient over all its rows is
 * exact and cheap. No loss is below the sum of the smallest eigenvalues of C (Eckart and Young,
 * 1936), which principal component analysis attains. Loops have one fixed order, so equal inputs
 * give equal bits.
 */
final class Autoencoder {
  static final int WIDTH = 384;
  static final int HIDDEN = 64;

  private final float[] covariance;
  private final float[] ec = new float[HIDDEN * WIDTH];
  private final float[] ecet = new float[HIDDEN * HIDDEN];
  private final float[] dtd = new float[HIDDEN * HIDDEN];

  /** For a worker's share of C: the sum of x xᵀ over its rows, times workers, over all rows. */
  Autoencoder(float[] covariance) {
    this.covariance = covariance;
  }

  /**
   * The share of C of rows that are {@code fraction} of all, scaled as the mean of shares needs.
   */
  static float[] covariance(float[] rows, double scale) {
    double[] sum = new double[WIDTH * WIDTH];
    for (int at = 0; at < rows.length; at += WIDTH) {
      for (int i = 0; i < WIDTH; i++) {
        double x = rows[at + i];
        for (int j = i; j < WIDTH; j++) {
          sum[i * WIDTH + j] += x * rows[at + j];
        }
      }
    }
    float[] covariance = new float[WIDTH * WIDTH];
    for (int i = 0; i < WIDTH; i++) {
      for (int j = i; j < WIDTH; j++) {
        float value = (float) (sum[i * WIDTH + j] * scale);
        covariance[i * WIDTH + j] = value;
        covariance[j * WIDTH + i] = value;
      }
    }
    return covariance;
  }

  /** Where training starts: small random numbers, D the transpose of E. */
  static float[][] start(long seed) {
    Random random = new Random(seed);
    float[] encoder = new float[HIDDEN * WIDTH];
    float[] decoder = new float[WIDTH * HIDDEN];
    for (int h = 0; h < HIDDEN; h++) {
      for (int i = 0; i < WIDTH; i++) {
        float value = (float) (random.nextGaussian() * 0.05);
        encoder[h * WIDTH + i] = value;
        decoder[i * HIDDEN + h] = value;
      }
    }
    return new float[][] {encoder, decoder};
  }

  /** Writes the gradients of both; gives the loss of this share. */
  double gradients(float[] encoder, float[] decoder, float[] gradE, float[] gradD) {
    prepare(encoder, decoder);
    for (int i = 0; i < WIDTH; i++) {
      for (int h = 0; h < HIDDEN; h++) {
        float sum = 0;
        for (int k = 0; k < HIDDEN; k++) {
          sum += decoder[i * HIDDEN + k] * ecet[k * HIDDEN + h];
        }
        gradD[i * HIDDEN + h] = 2 * (sum - ec[h * WIDTH + i]);
      }
    }
    float[] decoderTimesC = new float[HIDDEN * WIDTH];
    for (int i = 0; i < WIDTH; i++) {
      for (int h = 0; h < HIDDEN; h++) {
        axpy(decoder[i * HIDDEN + h], covariance, i * WIDTH, decoderTimesC, h * WIDTH);
      }
    }
    java.util.Arrays.fill(gradE, 0);
    for (int h = 0; h < HIDDEN; h++) {
      for (int k = 0; k < HIDDEN; k++) {
        axpy(dtd[h * HIDDEN + k], ec, k * WIDTH, gradE, h * WIDTH);
      }
      for (int i = 0; i < WIDTH; i++) {
        int at = h * WIDTH + i;
        gradE[at] = 2 * (gradE[at] - decoderTimesC[at]);
      }
    }
    return lossOfPrepared(decoder);
  }

  /** The loss of this share. */
  double loss(float[] encoder, float[] decoder) {
    prepare(encoder, decoder);
    return lossOfPrepared(decoder);
  }

  private double lossOfPrepared(float[] decoder) {
    double loss = 0;
    for (int i = 0; i < WIDTH; i++) {
      loss += covariance[i * WIDTH + i];
      for (int h = 0; h < HIDDEN; h++) {
        loss -= 2.0 * decoder[i * HIDDEN + h] * ec[h * WIDTH + i];
      }
    }
    for (int i = 0; i < HIDDEN * HIDDEN; i++) {
      loss += (double) dtd[i] * ecet[i];
    }
    return loss;
  }

  private void prepare(float[] encoder, float[] decoder) {
    java.util.Arrays.fill(ec, 0);
    java.util.Arrays.fill(dtd, 0);
    for (int h = 0; h < HIDDEN; h++) {
      for (int i = 0; i < WIDTH; i++) {
        axpy(encoder[h * WIDTH + i], covariance, i * WIDTH, ec, h * WIDTH);
      }
    }
    for (int h = 0; h < HIDDEN; h++) {
      for (int k = 0; k < HIDDEN; k++) {
        float sum = 0;
        for (int i = 0; i < WIDTH; i++) {
          sum += ec[h * WIDTH + i] * encoder[k * WIDTH + i];
        }
        ecet[h * HIDDEN + k] = sum;
      }
    }
    for (int i = 0; i < WIDTH; i++) {
      for (int h = 0; h < HIDDEN; h++) {
        float factor = decoder[i * HIDDEN + h];
        for (int k = 0; k < HIDDEN; k++) {
          dtd[h * HIDDEN + k] += factor * decoder[i * HIDDEN + k];
        }
      }
    }
  }

  private static void axpy(float factor, float[] x, int xAt, float[] y, int yAt) {
    for (int j = 0; j < WIDTH; j++) {
      y[yAt + j] += factor * x[xAt + j];
    }
  }

  /** The least loss that any encoder and decoder of this size can have: PCA's. */
  static double optimum(float[] covariance) {
    DMatrixRMaj matrix = new DMatrixRMaj(WIDTH, WIDTH);
    for (int i = 0; i < WIDTH * WIDTH; i++) {
      matrix.data[i] = covariance[i];
    }
    EigenDecomposition_F64<DMatrixRMaj> eigen = DecompositionFactory_DDRM.eig(WIDTH, false, true);
    if (!eigen.decompose(matrix)) {
      throw new IllegalStateException("the eigenvalues do not converge");
    }
    double[] values = new double[WIDTH];
    for (int i = 0; i < WIDTH; i++) {
      values[i] = eigen.getEigenvalue(i).getReal();
    }
    java.util.Arrays.sort(values);
    double sum = 0;
    for (int i = 0; i < WIDTH - HIDDEN; i++) {
      sum += values[i];
    }
    return sum;
  }
}
