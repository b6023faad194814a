package io.tensorhold.numerics;

import static io.tensorhold.numerics.VectorLanes.F;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.floats;
import static io.tensorhold.numerics.VectorLanes.store;
import static io.tensorhold.numerics.VectorLanes.withSign;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/**
 * The loops of optimizers with the Vector API, bit-equal to {@link ScalarOptimizers}, which also
 * does what is left over at the end of each loop. A lane is one element; the operations are those
 * of the scalar loop, in its order.
 */
final class VectorOptimizers implements OptimizerKernels {
  private static final ScalarOptimizers TAIL = ScalarOptimizers.INSTANCE;

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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at);
      FloatVector d = floats(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = plus(d, f.weightDecay(), weight);
      }
      if (f.momentum() != 0) {
        FloatVector buffer = d;
        if (!f.first()) {
          buffer = plus(floats(s, sOff + at).mul(f.momentum()), f.gain(), d);
        }
        store(s, sOff + at, buffer);
        d = f.nesterov() ? plus(d, f.momentum(), buffer) : buffer;
      }
      store(w, wOff + at, plus(weight, -f.lr(), d));
    }
    long done = 4L * bound;
    TAIL.sgd(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at).mul(f.keep());
      FloatVector d = floats(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = plus(d, f.weightDecay(), weight);
      }
      FloatVector mean = lerp(floats(s, sOff + at), d, f.gain1());
      FloatVector square = square(floats(s, sOff + stride + at), d, f.beta2(), f.gain2());
      store(s, sOff + at, mean);
      store(s, sOff + stride + at, square);
      if (f.amsgrad()) {
        square = floats(s, sOff + 2 * stride + at).max(square);
        store(s, sOff + 2 * stride + at, square);
      }
      FloatVector divisor = root(square).div(f.root2()).add(f.eps());
      store(w, wOff + at, weight.sub(mean.mul(f.stepSize()).div(divisor)));
    }
    long done = 4L * bound;
    TAIL.adam(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at);
      FloatVector d = floats(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = plus(d, f.weightDecay(), weight);
      }
      FloatVector sum = d.fma(d, floats(s, sOff + at));
      store(s, sOff + at, sum);
      store(w, wOff + at, weight.sub(d.mul(f.stepSize()).div(root(sum).add(f.eps()))));
    }
    long done = 4L * bound;
    TAIL.adagrad(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at);
      FloatVector d = floats(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = plus(d, f.weightDecay(), weight);
      }
      FloatVector square = square(floats(s, sOff + at), d, f.alpha(), f.gain());
      store(s, sOff + at, square);
      long slot = sOff + stride;
      FloatVector variance = square;
      if (f.centered()) {
        FloatVector mean = lerp(floats(s, slot + at), d, f.gain());
        store(s, slot + at, mean);
        variance = mean.neg().fma(mean, square);
        slot += stride;
      }
      FloatVector divisor = root(variance).add(f.eps());
      if (f.momentum() != 0) {
        FloatVector buffer = floats(s, slot + at).mul(f.momentum()).add(d.div(divisor));
        store(s, slot + at, buffer);
        store(w, wOff + at, plus(weight, -f.lr(), buffer));
      } else {
        store(w, wOff + at, weight.sub(d.mul(f.lr()).div(divisor)));
      }
    }
    long done = 4L * bound;
    TAIL.rmsProp(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at);
      FloatVector d = floats(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = plus(d, f.weightDecay(), weight);
      }
      FloatVector square = square(floats(s, sOff + at), d, f.rho(), f.gain());
      store(s, sOff + at, square);
      FloatVector moved = floats(s, sOff + stride + at);
      FloatVector u = root(moved.add(f.eps())).div(root(square.add(f.eps()))).mul(d);
      store(s, sOff + stride + at, square(moved, u, f.rho(), f.gain()));
      store(w, wOff + at, plus(weight, -f.lr(), u));
    }
    long done = 4L * bound;
    TAIL.adadelta(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at);
      FloatVector d = floats(g, gOff + at);
      FloatVector before = floats(s, sOff + stride + at);
      FloatVector sum = d.fma(d, before);
      FloatVector root = root(sum);
      FloatVector sigma = root.sub(root(before)).mul(f.inverseAlpha());
      FloatVector z = sigma.neg().fma(weight, floats(s, sOff + at).add(d));
      store(s, sOff + at, z);
      store(s, sOff + stride + at, sum);
      FloatVector divisor = plus(FloatVector.broadcast(F, f.strength()), f.inverseAlpha(), root);
      FloatVector next = withSign(f.l1(), z).sub(z).div(divisor);
      store(w, wOff + at, next.blend(0f, z.abs().compare(VectorOperators.LE, f.l1())));
    }
    long done = 4L * bound;
    TAIL.ftrl(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at).mul(f.keep());
      FloatVector d = floats(g, gOff + at);
      FloatVector momentum = floats(s, sOff + at);
      FloatVector c = plus(momentum.mul(f.beta1()), f.gain1(), d);
      VectorMask<Float> moves = c.abs().compare(VectorOperators.GT, 0f);
      store(w, wOff + at, weight.sub(withSign(f.lr(), c), moves));
      store(s, sOff + at, plus(momentum.mul(f.beta2()), f.gain2(), d));
    }
    long done = 4L * bound;
    TAIL.lion(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at);
      FloatVector d = floats(g, gOff + at);
      FloatVector mean = lerp(floats(s, sOff + at), d, f.gain1());
      FloatVector square = square(floats(s, sOff + stride + at), d, f.beta2(), f.gain2());
      store(s, sOff + at, mean);
      store(s, sOff + stride + at, square);
      store(w, wOff + at, plus(weight, -f.rate(), direction(f, weight, mean, square)));
    }
    long done = 4L * bound;
    TAIL.lamb(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
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
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector weight = floats(w, wOff + at);
      FloatVector d = floats(g, gOff + at);
      FloatVector mean = lerp(floats(s, sOff + at), d, f.gain1());
      FloatVector square = square(floats(s, sOff + stride + at), d, f.beta2(), f.gain2());
      store(g, gOff + at, direction(f, weight, mean, square));
    }
    long done = 4L * bound;
    TAIL.lambDirection(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
  }

  private static FloatVector direction(
      Lamb.Factors f, FloatVector weight, FloatVector mean, FloatVector square) {
    FloatVector eps = FloatVector.broadcast(F, f.eps());
    FloatVector moved = mean.mul(f.inverse1()).div(plus(eps, f.inverseRoot2(), root(square)));
    return plus(moved, f.weightDecay(), weight);
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
    float divisor = ScalarOptimizers.rowDivisor(f, sumOfSquares(g, gOff, n), s, sOff, n);
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      FloatVector moved = floats(g, gOff + at).mul(f.stepSize()).div(divisor);
      store(w, wOff + at, floats(w, wOff + at).sub(moved));
    }
    long done = 4L * bound;
    ScalarOptimizers.moveRow(f.stepSize(), divisor, w, wOff + done, g, gOff + done, n - bound);
  }

  @Override
  public void average(float weight, MemorySegment w, long wOff, MemorySegment x, long xOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      store(w, wOff + at, lerp(floats(w, wOff + at), floats(x, xOff + at), weight));
    }
    TAIL.average(weight, w, wOff + 4L * bound, x, xOff + 4L * bound, n - bound);
  }

  @Override
  public void addL1(float l1, MemorySegment w, long wOff, MemorySegment g, long gOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      FloatVector weight = floats(w, wOff + 4L * i);
      FloatVector d = floats(g, gOff + 4L * i);
      FloatVector up = d.blend(d.add(l1), weight.compare(VectorOperators.GT, 0f));
      store(g, gOff + 4L * i, up.blend(d.sub(l1), weight.compare(VectorOperators.LT, 0f)));
    }
    TAIL.addL1(l1, w, wOff + 4L * bound, g, gOff + 4L * bound, n - bound);
  }

  @Override
  public void clamp(float limit, MemorySegment x, long off, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      FloatVector value = floats(x, off + 4L * i);
      FloatVector low = value.blend(limit, value.compare(VectorOperators.GT, limit));
      store(x, off + 4L * i, low.blend(-limit, value.compare(VectorOperators.LT, -limit)));
    }
    TAIL.clamp(limit, x, off + 4L * bound, n - bound);
  }

  @Override
  public double sumOfSquares(MemorySegment x, long off, int n) {
    return VectorSums.ofSquares(x, off, n);
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
    VectorFloat8.encode(signed, seed, f32, f32Off, dst, dstOff, n);
  }

  @Override
  public void decodeState(
      boolean signed, MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    VectorFloat8.decode(signed, src, srcOff, f32, f32Off, n);
  }

  private static FloatVector lerp(FloatVector from, FloatVector to, float weight) {
    FloatVector change = to.sub(from);
    return weight < 0.5f ? plus(from, weight, change) : plus(to, weight - 1f, change);
  }

  /** A running mean of squares. */
  private static FloatVector square(FloatVector mean, FloatVector d, float keep, float gain) {
    return d.mul(gain).fma(d, mean.mul(keep));
  }

  /** x + factor · y, rounded once. */
  private static FloatVector plus(FloatVector x, float factor, FloatVector y) {
    return y.fma(FloatVector.broadcast(F, factor), x);
  }

  private static FloatVector root(FloatVector value) {
    return value.lanewise(VectorOperators.SQRT);
  }
}
