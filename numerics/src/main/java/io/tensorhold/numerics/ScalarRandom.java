package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/** The plain loops of {@link RandomKernels}: the reference, and the tails of the SIMD ones. */
final class ScalarRandom implements RandomKernels {
  static final ScalarRandom INSTANCE = new ScalarRandom();

  private ScalarRandom() {}

  @Override
  public void uniform(long seed, float low, float range, MemorySegment f32, long off, int n) {
    for (int i = 0; i < n; i++) {
      float u = (StochasticRounding.bits(seed, i) >>> 8) * 0x1p-24f;
      ScalarKernels.write(f32, off + 4L * i, u * range + low);
    }
  }

  @Override
  public void normal(
      long seed,
      float share,
      float limit,
      float mean,
      float std,
      MemorySegment f32,
      long off,
      int n) {
    for (int i = 0; i < n; i++) {
      int odd = 2 * (StochasticRounding.bits(seed, i) >> 8) + 1;
      float z = NormalQuantile.of(odd * 0x1p-24f * share);
      z = Math.max(-limit, Math.min(limit, z));
      ScalarKernels.write(f32, off + 4L * i, Math.fma(std, z, mean));
    }
  }
}
