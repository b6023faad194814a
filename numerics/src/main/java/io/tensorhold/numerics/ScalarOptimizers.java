package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/** The plain loops of optimizers: the reference, and the tails of the SIMD ones. */
final class ScalarOptimizers implements OptimizerKernels {
  static final ScalarOptimizers INSTANCE = new ScalarOptimizers();

  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private ScalarOptimizers() {}

  @Override
  public void sgd(
      Sgd.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at);
      float d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = Math.fma(f.weightDecay(), weight, d);
      }
      if (f.momentum() != 0) {
        float buffer = d;
        if (!f.first()) {
          buffer = Math.fma(f.gain(), d, f.momentum() * read(s, sOff + at));
        }
        write(s, sOff + at, buffer);
        d = f.nesterov() ? Math.fma(f.momentum(), buffer, d) : buffer;
      }
      write(w, wOff + at, Math.fma(-f.lr(), d, weight));
    }
  }

  @Override
  public void adam(
      Adam.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at) * f.keep();
      float d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = Math.fma(f.weightDecay(), weight, d);
      }
      float mean = lerp(read(s, sOff + at), d, f.gain1());
      float square = square(read(s, sOff + stride + at), d, f.beta2(), f.gain2());
      write(s, sOff + at, mean);
      write(s, sOff + stride + at, square);
      if (f.amsgrad()) {
        square = Math.max(read(s, sOff + 2 * stride + at), square);
        write(s, sOff + 2 * stride + at, square);
      }
      write(w, wOff + at, weight - f.stepSize() * mean / (root(square) / f.root2() + f.eps()));
    }
  }

  @Override
  public void adagrad(
      Adagrad.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at);
      float d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = Math.fma(f.weightDecay(), weight, d);
      }
      float sum = Math.fma(d, d, read(s, sOff + at));
      write(s, sOff + at, sum);
      write(w, wOff + at, weight - f.stepSize() * d / (root(sum) + f.eps()));
    }
  }

  @Override
  public void rmsProp(
      RmsProp.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at);
      float d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = Math.fma(f.weightDecay(), weight, d);
      }
      float square = square(read(s, sOff + at), d, f.alpha(), f.gain());
      write(s, sOff + at, square);
      long slot = sOff + stride;
      float variance = square;
      if (f.centered()) {
        float mean = lerp(read(s, slot + at), d, f.gain());
        write(s, slot + at, mean);
        variance = Math.fma(-mean, mean, square);
        slot += stride;
      }
      float divisor = root(variance) + f.eps();
      if (f.momentum() != 0) {
        float buffer = f.momentum() * read(s, slot + at) + d / divisor;
        write(s, slot + at, buffer);
        write(w, wOff + at, Math.fma(-f.lr(), buffer, weight));
      } else {
        write(w, wOff + at, weight - f.lr() * d / divisor);
      }
    }
  }

  @Override
  public void adadelta(
      Adadelta.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at);
      float d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = Math.fma(f.weightDecay(), weight, d);
      }
      float square = square(read(s, sOff + at), d, f.rho(), f.gain());
      write(s, sOff + at, square);
      float moved = read(s, sOff + stride + at);
      float u = root(moved + f.eps()) / root(square + f.eps()) * d;
      write(s, sOff + stride + at, square(moved, u, f.rho(), f.gain()));
      write(w, wOff + at, Math.fma(-f.lr(), u, weight));
    }
  }

  @Override
  public void ftrl(
      Ftrl.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at);
      float d = read(g, gOff + at);
      float before = read(s, sOff + stride + at);
      float sum = Math.fma(d, d, before);
      float sigma = (root(sum) - root(before)) * f.inverseAlpha();
      float z = Math.fma(-sigma, weight, read(s, sOff + at) + d);
      write(s, sOff + at, z);
      write(s, sOff + stride + at, sum);
      float pull = Math.copySign(f.l1(), z) - z;
      float next = pull / Math.fma(f.inverseAlpha(), root(sum), f.strength());
      write(w, wOff + at, Math.abs(z) <= f.l1() ? 0f : next);
    }
  }

  @Override
  public void lion(
      Lion.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at) * f.keep();
      float d = read(g, gOff + at);
      float momentum = read(s, sOff + at);
      float c = Math.fma(f.gain1(), d, f.beta1() * momentum);
      write(w, wOff + at, Math.abs(c) > 0 ? weight - Math.copySign(f.lr(), c) : weight);
      write(s, sOff + at, Math.fma(f.gain2(), d, f.beta2() * momentum));
    }
  }

  @Override
  public void lamb(
      Lamb.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at);
      float d = read(g, gOff + at);
      float mean = lerp(read(s, sOff + at), d, f.gain1());
      float square = square(read(s, sOff + stride + at), d, f.beta2(), f.gain2());
      write(s, sOff + at, mean);
      write(s, sOff + stride + at, square);
      write(w, wOff + at, Math.fma(-f.rate(), direction(f, weight, mean, square), weight));
    }
  }

  @Override
  public void lambDirection(
      Lamb.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      float weight = read(w, wOff + at);
      float d = read(g, gOff + at);
      float mean = lerp(read(s, sOff + at), d, f.gain1());
      float square = square(read(s, sOff + stride + at), d, f.beta2(), f.gain2());
      write(g, gOff + at, direction(f, weight, mean, square));
    }
  }

  private static float direction(Lamb.Factors f, float weight, float mean, float square) {
    float divisor = Math.fma(f.inverseRoot2(), root(square), f.eps());
    return Math.fma(f.weightDecay(), weight, mean * f.inverse1() / divisor);
  }

  @Override
  public void adagradRow(
      Adagrad.Factors f,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      int n) {
    float divisor = rowDivisor(f, sumOfSquares(g, gOff, n), s, sOff, n);
    moveRow(f.stepSize(), divisor, w, wOff, g, gOff, n);
  }

  /**
   * Adds the mean of a row's squares to its accumulator; gives what its gradients are divided by.
   */
  static float rowDivisor(Adagrad.Factors f, double squares, MemorySegment s, long sOff, int n) {
    float sum = read(s, sOff) + (float) (squares / n);
    write(s, sOff, sum);
    return root(sum) + f.eps();
  }

  /** w = w − (stepSize · g) / divisor. */
  static void moveRow(
      float stepSize,
      float divisor,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      write(w, wOff + at, read(w, wOff + at) - stepSize * read(g, gOff + at) / divisor);
    }
  }

  @Override
  public void average(float weight, MemorySegment w, long wOff, MemorySegment x, long xOff, int n) {
    for (int i = 0; i < n; i++) {
      long at = 4L * i;
      write(w, wOff + at, lerp(read(w, wOff + at), read(x, xOff + at), weight));
    }
  }

  @Override
  public void addL1(float l1, MemorySegment w, long wOff, MemorySegment g, long gOff, int n) {
    for (int i = 0; i < n; i++) {
      float weight = read(w, wOff + 4L * i);
      float d = read(g, gOff + 4L * i);
      write(g, gOff + 4L * i, weight > 0 ? d + l1 : weight < 0 ? d - l1 : d);
    }
  }

  @Override
  public void clamp(float limit, MemorySegment x, long off, int n) {
    for (int i = 0; i < n; i++) {
      float value = read(x, off + 4L * i);
      write(x, off + 4L * i, value > limit ? limit : value < -limit ? -limit : value);
    }
  }

  @Override
  public double sumOfSquares(MemorySegment x, long off, int n) {
    return canonical(sum(x, off, n, 0, 1));
  }

  /** The sum of those of the 16 sums whose number is {@code lane} modulo {@code step}. */
  private static double sum(MemorySegment x, long off, int n, int lane, int step) {
    if (step < 16) {
      return sum(x, off, n, lane, 2 * step) + sum(x, off, n, lane + step, 2 * step);
    }
    double sum = 0;
    for (int i = lane; i < n; i += 16) {
      double value = read(x, off + 4L * i);
      sum += value * value;
    }
    return sum;
  }

  static double canonical(double value) {
    return Double.longBitsToDouble(Double.doubleToLongBits(value));
  }

  @Override
  public void encodeState(
      boolean signed,
      long seed,
      MemorySegment f32,
      long f32Off,
      MemorySegment dst,
      long dstOff,
      int n) {
    Float8State.encode(signed, seed, f32, f32Off, dst, dstOff, n);
  }

  @Override
  public void decodeState(
      boolean signed, MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    Float8State.decode(signed, src, srcOff, f32, f32Off, n);
  }

  private static float lerp(float from, float to, float weight) {
    float change = to - from;
    return weight < 0.5f ? Math.fma(weight, change, from) : Math.fma(weight - 1f, change, to);
  }

  /** A running mean of squares. */
  private static float square(float mean, float d, float keep, float gain) {
    return Math.fma(gain * d, d, keep * mean);
  }

  /** The root of a double, rounded to f32, is the correctly rounded root of the f32. */
  private static float root(float value) {
    return (float) Math.sqrt(value);
  }

  static float read(MemorySegment f32, long offset) {
    return Float.intBitsToFloat(f32.get(INT, offset));
  }

  /** Stores a result of arithmetic; floatToIntBits makes every NaN the same NaN. */
  static void write(MemorySegment f32, long offset, float value) {
    f32.set(INT, offset, Float.floatToIntBits(value));
  }
}
