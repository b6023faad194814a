package io.tensorhold.numerics;

/**
 * √2 · erfinv(p) in f32: the quantile of the normal distribution at (1 + p) / 2.
 *
 * <p>The polynomials are those of Mike Giles, "Approximating the erfinv function" (GPU Computing
 * Gems, 2011), in w = −log(1 − p²); the logarithm's is that of Cephes' logf. All are evaluated by
 * Horner's rule with fused multiply-adds, highest power first.
 */
final class NormalQuantile {
  static final float[] LOG = {
    0.070376836f,
    -0.1151461f,
    0.116769984f,
    -0.12420141f,
    0.14249323f,
    -0.16668057f,
    0.20000714f,
    -0.24999994f,
    0.3333333f
  };
  static final float[] CENTRE = {
    2.8102264e-8f,
    3.4327394e-7f,
    -3.5233877e-6f,
    -4.3915065e-6f,
    2.1858087e-4f,
    -0.001253725f,
    -0.0041776816f,
    0.24664073f,
    1.5014094f
  };
  static final float[] TAIL = {
    -2.0021426e-4f,
    1.0095056e-4f,
    0.0013493432f,
    -0.0036734284f,
    0.0057395077f,
    -0.0076224613f,
    0.0094388705f,
    1.001674f,
    2.8329768f
  };

  /** Bits of √½ as f32: mantissas are taken from there to √2. */
  static final int ROOT_HALF = 0x3f35_04f3;

  static final float LN2_HIGH = 0.6933594f;
  static final float LN2_LOW = -2.1219444e-4f;
  static final float ROOT2 = (float) Math.sqrt(2);

  /** From here on the tail's polynomial counts, in √w − 3; before it the centre's, in w − 2.5. */
  static final float TAIL_FROM = 5;

  private NormalQuantile() {}

  static float of(float p) {
    float w = -log(Math.fma(-p, p, 1f));
    float q =
        w < TAIL_FROM ? polynomial(CENTRE, w - 2.5f) : polynomial(TAIL, (float) Math.sqrt(w) - 3f);
    return q * p * ROOT2;
  }

  /** The natural logarithm of a positive normal number. */
  private static float log(float a) {
    int bits = Float.floatToRawIntBits(a);
    int exponent = (bits - ROOT_HALF) >> 23;
    float x = Float.intBitsToFloat(bits - (exponent << 23)) - 1f;
    float e = exponent;
    float z = x * x;
    float y = polynomial(LOG, x) * x * z;
    y = Math.fma(e, LN2_LOW, y);
    y = Math.fma(-0.5f, z, y);
    return Math.fma(e, LN2_HIGH, x + y);
  }

  private static float polynomial(float[] coefficients, float x) {
    float sum = coefficients[0];
    for (int i = 1; i < coefficients.length; i++) {
      sum = Math.fma(sum, x, coefficients[i]);
    }
    return sum;
  }
}
