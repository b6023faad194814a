package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * The loops of optimizers with the Vector API, bit-equal to {@link ScalarOptimizers}, which also
 * does what is left over at the end of each loop. A lane is one element; the operations are those
 * of the scalar loop, in its order.
 */
final class VectorOptimizers implements OptimizerKernels {
  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final int LANES = F.length();
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final ScalarOptimizers TAIL = ScalarOptimizers.INSTANCE;

  /** The only NaN that arithmetic stores, as Float.floatToIntBits gives it. */
  private static final FloatVector NAN = FloatVector.broadcast(F, Float.NaN);

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
      FloatVector weight = read(w, wOff + at);
      FloatVector d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = d.add(weight.mul(f.weightDecay()));
      }
      if (f.momentum() != 0) {
        FloatVector buffer = d;
        if (!f.first()) {
          buffer = read(s, sOff + at).mul(f.momentum()).add(d.mul(f.gain()));
        }
        write(s, sOff + at, buffer);
        d = f.nesterov() ? d.add(buffer.mul(f.momentum())) : buffer;
      }
      write(w, wOff + at, weight.sub(d.mul(f.lr())));
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
      FloatVector weight = read(w, wOff + at).mul(f.keep());
      FloatVector d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = d.add(weight.mul(f.weightDecay()));
      }
      FloatVector mean = lerp(read(s, sOff + at), d, f.gain1());
      FloatVector square = square(read(s, sOff + stride + at), d, f.beta2(), f.gain2());
      write(s, sOff + at, mean);
      write(s, sOff + stride + at, square);
      if (f.amsgrad()) {
        square = read(s, sOff + 2 * stride + at).max(square);
        write(s, sOff + 2 * stride + at, square);
      }
      FloatVector divisor = root(square).div(f.root2()).add(f.eps());
      write(w, wOff + at, weight.sub(mean.mul(f.stepSize()).div(divisor)));
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
      FloatVector weight = read(w, wOff + at);
      FloatVector d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = d.add(weight.mul(f.weightDecay()));
      }
      FloatVector sum = read(s, sOff + at).add(d.mul(d));
      write(s, sOff + at, sum);
      write(w, wOff + at, weight.sub(d.mul(f.stepSize()).div(root(sum).add(f.eps()))));
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
      FloatVector weight = read(w, wOff + at);
      FloatVector d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = d.add(weight.mul(f.weightDecay()));
      }
      FloatVector square = square(read(s, sOff + at), d, f.alpha(), f.gain());
      write(s, sOff + at, square);
      long slot = sOff + stride;
      FloatVector variance = square;
      if (f.centered()) {
        FloatVector mean = lerp(read(s, slot + at), d, f.gain());
        write(s, slot + at, mean);
        variance = square.sub(mean.mul(mean));
        slot += stride;
      }
      FloatVector divisor = root(variance).add(f.eps());
      if (f.momentum() != 0) {
        FloatVector buffer = read(s, slot + at).mul(f.momentum()).add(d.div(divisor));
        write(s, slot + at, buffer);
        write(w, wOff + at, weight.sub(buffer.mul(f.lr())));
      } else {
        write(w, wOff + at, weight.sub(d.mul(f.lr()).div(divisor)));
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
      FloatVector weight = read(w, wOff + at);
      FloatVector d = read(g, gOff + at);
      if (f.weightDecay() != 0) {
        d = d.add(weight.mul(f.weightDecay()));
      }
      FloatVector square = square(read(s, sOff + at), d, f.rho(), f.gain());
      write(s, sOff + at, square);
      FloatVector moved = read(s, sOff + stride + at);
      FloatVector u = root(moved.add(f.eps())).div(root(square.add(f.eps()))).mul(d);
      write(s, sOff + stride + at, square(moved, u, f.rho(), f.gain()));
      write(w, wOff + at, weight.sub(u.mul(f.lr())));
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
      FloatVector weight = read(w, wOff + at);
      FloatVector d = read(g, gOff + at);
      FloatVector before = read(s, sOff + stride + at);
      FloatVector sum = before.add(d.mul(d));
      FloatVector sigma = root(sum).sub(root(before)).div(f.alpha());
      FloatVector z = read(s, sOff + at).add(d).sub(sigma.mul(weight));
      write(s, sOff + at, z);
      write(s, sOff + stride + at, sum);
      FloatVector l1 =
          FloatVector.broadcast(F, -f.l1()).blend(f.l1(), z.compare(VectorOperators.GT, 0f));
      FloatVector next = l1.sub(z).div(root(sum).add(f.beta()).div(f.alpha()).add(f.l2()));
      write(w, wOff + at, next.blend(0f, z.abs().compare(VectorOperators.LE, f.l1())));
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
      FloatVector weight = read(w, wOff + at).mul(f.keep());
      FloatVector d = read(g, gOff + at);
      FloatVector momentum = read(s, sOff + at);
      FloatVector sign = momentum.mul(f.beta1()).add(d.mul(f.gain1()));
      sign =
          sign.blend(1f, sign.compare(VectorOperators.GT, 0f))
              .blend(-1f, sign.compare(VectorOperators.LT, 0f));
      write(w, wOff + at, weight.sub(sign.mul(f.lr())));
      write(s, sOff + at, momentum.mul(f.beta2()).add(d.mul(f.gain2())));
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
      FloatVector weight = read(w, wOff + at);
      FloatVector d = read(g, gOff + at);
      FloatVector mean = lerp(read(s, sOff + at), d, f.gain1());
      FloatVector square = square(read(s, sOff + stride + at), d, f.beta2(), f.gain2());
      write(s, sOff + at, mean);
      write(s, sOff + stride + at, square);
      write(w, wOff + at, weight.sub(direction(f, weight, mean, square).mul(f.rate())));
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
      FloatVector weight = read(w, wOff + at);
      FloatVector d = read(g, gOff + at);
      FloatVector mean = lerp(read(s, sOff + at), d, f.gain1());
      FloatVector square = square(read(s, sOff + stride + at), d, f.beta2(), f.gain2());
      write(g, gOff + at, direction(f, weight, mean, square));
    }
    long done = 4L * bound;
    TAIL.lambDirection(f, w, wOff + done, g, gOff + done, s, sOff + done, stride, n - bound);
  }

  private static FloatVector direction(
      Lamb.Factors f, FloatVector weight, FloatVector mean, FloatVector square) {
    return mean.div(f.correction1())
        .div(root(square).div(f.root2()).add(f.eps()))
        .add(weight.mul(f.weightDecay()));
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
      FloatVector moved = read(g, gOff + at).mul(f.stepSize()).div(divisor);
      write(w, wOff + at, read(w, wOff + at).sub(moved));
    }
    long done = 4L * bound;
    ScalarOptimizers.moveRow(f.stepSize(), divisor, w, wOff + done, g, gOff + done, n - bound);
  }

  @Override
  public void average(float weight, MemorySegment w, long wOff, MemorySegment x, long xOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      long at = 4L * i;
      write(w, wOff + at, lerp(read(w, wOff + at), read(x, xOff + at), weight));
    }
    TAIL.average(weight, w, wOff + 4L * bound, x, xOff + 4L * bound, n - bound);
  }

  @Override
  public void addL1(float l1, MemorySegment w, long wOff, MemorySegment g, long gOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      FloatVector weight = read(w, wOff + 4L * i);
      FloatVector d = read(g, gOff + 4L * i);
      FloatVector up = d.blend(d.add(l1), weight.compare(VectorOperators.GT, 0f));
      write(g, gOff + 4L * i, up.blend(d.sub(l1), weight.compare(VectorOperators.LT, 0f)));
    }
    TAIL.addL1(l1, w, wOff + 4L * bound, g, gOff + 4L * bound, n - bound);
  }

  @Override
  public void clamp(float limit, MemorySegment x, long off, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      FloatVector value = read(x, off + 4L * i);
      FloatVector low = value.blend(limit, value.compare(VectorOperators.GT, limit));
      write(x, off + 4L * i, low.blend(-limit, value.compare(VectorOperators.LT, -limit)));
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
    return weight < 0.5f ? from.add(change.mul(weight)) : to.sub(change.mul(1f - weight));
  }

  /** The running mean of squares: (keep · mean) + ((gain · d) · d). */
  private static FloatVector square(FloatVector mean, FloatVector d, float keep, float gain) {
    return mean.mul(keep).add(d.mul(gain).mul(d));
  }

  private static FloatVector root(FloatVector value) {
    return value.lanewise(VectorOperators.SQRT);
  }

  private static FloatVector read(MemorySegment f32, long offset) {
    return FloatVector.fromMemorySegment(F, f32, offset, LE);
  }

  private static void write(MemorySegment f32, long offset, FloatVector value) {
    value.blend(NAN, value.test(VectorOperators.IS_NAN)).intoMemorySegment(f32, offset, LE);
  }
}
