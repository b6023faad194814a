package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * The loops of optimizers, under the contract of {@link Kernels}: f32, the order that each method
 * states, one NaN. Slots, from {@code s} on, lie {@code stride} bytes apart, in the order in which
 * a method names them.
 *
 * <p>In the formulas, x + [a · b] and x − [a · b] are one fused multiply-add: the product is not
 * rounded. Every other operation is. This is how PyTorch's kernels of a CPU with AVX2 or AVX-512
 * compute add with alpha, addcmul and lerp, out of which its optimizers are made; the optimizers
 * that it does not have are written in the same operations. Roots are rounded correctly.
 */
interface OptimizerKernels {
  /**
   * One step of gradient descent; the momentum buffer m is neither read nor written when {@code
   * f.momentum() == 0}.
   *
   * <pre>
   * d = g            or, if weightDecay ≠ 0:  g + [weightDecay · w]
   * if momentum ≠ 0:
   *   m = d          if first, else (momentum · m) + [gain · d]
   *   d = m          or, if nesterov:         d + [momentum · m]
   * w = w − [lr · d]
   * </pre>
   */
  void sgd(
      Sgd.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of Adam with the moments m and v and, with amsgrad, the largest v.
   *
   * <pre>
   * w = w · keep                              if keep ≠ 1 (decoupled decay)
   * d = g            or, if weightDecay ≠ 0:  g + weightDecay · w
   * m = m + [gain1 · (d − m)]                 or, if gain1 ≥ 0.5:  d + [(gain1 − 1) · (d − m)]
   * v = (beta2 · v) + [(gain2 · d) · d]
   * a = v            or, with amsgrad:        largest = max(largest, v)
   * w = w − (stepSize · m) / (√a / root2 + eps)
   * </pre>
   */
  void adam(
      Adam.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of Adagrad.
   *
   * <pre>
   * d = g            or, if weightDecay ≠ 0:  g + weightDecay · w
   * a = a + [d · d]
   * w = w − (stepSize · d) / (√a + eps)
   * </pre>
   */
  void adagrad(
      Adagrad.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of RMSprop.
   *
   * <pre>
   * d = g            or, if weightDecay ≠ 0:  g + weightDecay · w
   * v = (alpha · v) + [(gain · d) · d]
   * a = v            or, if centered:         m = m + [gain · (d − m)] as Adam's;  v − [m · m]
   * a = √a + eps
   * w = w − (lr · d) / a                      or, if momentum ≠ 0:
   *   b = (momentum · b) + d / a;  w = w − [lr · b]
   * </pre>
   */
  void rmsProp(
      RmsProp.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of Adadelta.
   *
   * <pre>
   * d = g            or, if weightDecay ≠ 0:  g + weightDecay · w
   * v = (rho · v) + [(gain · d) · d]
   * u = (√(a + eps) / √(v + eps)) · d
   * a = (rho · a) + [(gain · u) · u]
   * w = w − [lr · u]
   * </pre>
   */
  void adadelta(
      Adadelta.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of FTRL-Proximal.
   *
   * <pre>
   * q = n + [g · g]
   * z = (z + g) − [((√q − √n) · inverseAlpha) · w]
   * n = q
   * w = 0            if |z| ≤ l1, else (l1 with the sign of z − z) / (strength + [inverseAlpha · √n])
   * </pre>
   */
  void ftrl(
      Ftrl.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of Lion.
   *
   * <pre>
   * c = (beta1 · m) + [gain1 · g]
   * w = w · keep
   * w = w − lr       if c > 0;  w + lr if c < 0;  else w, also if c is NaN
   * m = (beta2 · m) + [gain2 · g]
   * </pre>
   */
  void lion(
      Lion.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of LAMB.
   *
   * <pre>
   * m, v as Adam's, with d = g
   * u = (m · inverse1) / (eps + [inverseRoot2 · √v]) + [weightDecay · w]
   * w = w − [rate · u]
   * </pre>
   */
  void lamb(
      Lamb.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /** Replaces g by the u of {@link #lamb}; nothing else changes. */
  void lambDirection(
      Lamb.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  /**
   * One step of Adagrad on one row of n elements with the single accumulator at {@code s}.
   *
   * <pre>
   * a = a + f32(Σ g² / n)                     the sum as {@link #sumOfSquares}
   * w = w − (stepSize · g) / (√a + eps)
   * </pre>
   */
  void adagradRow(
      Adagrad.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      int n);

  /** w = w + [weight · (x − w)], or, if weight ≥ 0.5: x + [(weight − 1) · (x − w)]. */
  void average(float weight, MemorySegment w, long wOff, MemorySegment x, long xOff, int n);

  /** g = g + l1 where w is above 0, g − l1 where it is below, else g. */
  void addL1(float l1, MemorySegment w, long wOff, MemorySegment g, long gOff, int n);

  /** x = limit where x is above it, −limit where x is below that, else x. */
  void clamp(float limit, MemorySegment x, long off, int n);

  /**
   * Σ x² in f64, where a square of an f32 is exact. Element i is added to sum i mod 16, in rising
   * order; then sums j and j + 8 are added, then j and j + 4, j + 2, j + 1.
   */
  double sumOfSquares(MemorySegment x, long off, int n);

  /** Encodes state in 8 bits; see {@link Float8State}. */
  void encodeState(
      boolean signed,
      long seed,
      MemorySegment f32,
      long f32Off,
      MemorySegment dst,
      long dstOff,
      int n);

  /** Decodes what {@link #encodeState} encoded. */
  void decodeState(
      boolean signed, MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n);
}
