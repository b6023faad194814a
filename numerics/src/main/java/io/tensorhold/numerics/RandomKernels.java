package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * Loops that fill memory with pseudorandom f32, under the contract of {@link Kernels}. Element i is
 * made of b = {@link StochasticRounding#bits}(seed, i) alone.
 *
 * <p>x + [a · b] is one fused multiply-add; every other operation is rounded.
 */
interface RandomKernels {
  /** x = low + u · range, where u = (b >>> 8) · 2⁻²⁴, with two roundings. */
  void uniform(long seed, float low, float range, MemorySegment f32, long off, int n);

  /**
   * Normal deviates, by the inverse of their distribution.
   *
   * <pre>
   * p = (2 · (b >> 8) + 1) · 2⁻²⁴ · share     in (−share, share)
   * z = √2 · erfinv(p), cut at ±limit         {@link NormalQuantile}
   * x = mean + [std · z]
   * </pre>
   */
  void normal(
      long seed,
      float share,
      float limit,
      float mean,
      float std,
      MemorySegment f32,
      long off,
      int n);
}
