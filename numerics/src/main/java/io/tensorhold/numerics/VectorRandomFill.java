package io.tensorhold.numerics;

import static io.tensorhold.numerics.VectorLanes.F;
import static io.tensorhold.numerics.VectorLanes.LANES;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/** {@link RandomKernels} for many elements at once, bit-equal to {@link ScalarRandom}. */
final class VectorRandomFill implements RandomKernels {
  static final VectorRandomFill INSTANCE = new VectorRandomFill();

  private VectorRandomFill() {}

  @Override
  public void uniform(long seed, float low, float range, MemorySegment f32, long off, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      IntVector steps = VectorRandom.bits(seed, i).lanewise(VectorOperators.LSHR, 8);
      FloatVector u = VectorLanes.toFloats(steps).mul(0x1p-24f);
      VectorLanes.store(f32, off + 4L * i, u.mul(range).add(low));
    }
    ScalarRandom.INSTANCE.uniform(
        StochasticRounding.advance(seed, bound), low, range, f32, off + 4L * bound, n - bound);
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
    int bound = F.loopBound(n);
    FloatVector means = FloatVector.broadcast(F, mean);
    for (int i = 0; i < bound; i += LANES) {
      IntVector odd = VectorRandom.bits(seed, i).lanewise(VectorOperators.ASHR, 8).mul(2).add(1);
      FloatVector z = quantile(VectorLanes.toFloats(odd).mul(0x1p-24f).mul(share));
      z = z.min(limit).max(-limit);
      VectorLanes.store(f32, off + 4L * i, z.fma(FloatVector.broadcast(F, std), means));
    }
    ScalarRandom.INSTANCE.normal(
        StochasticRounding.advance(seed, bound),
        share,
        limit,
        mean,
        std,
        f32,
        off + 4L * bound,
        n - bound);
  }

  /** {@link NormalQuantile#of}, lane by lane. */
  private static FloatVector quantile(FloatVector p) {
    FloatVector w = log(p.neg().fma(p, FloatVector.broadcast(F, 1f))).neg();
    FloatVector centre = polynomial(NormalQuantile.CENTRE, w.sub(2.5f));
    FloatVector tail = polynomial(NormalQuantile.TAIL, w.lanewise(VectorOperators.SQRT).sub(3f));
    FloatVector q = tail.blend(centre, w.lt(NormalQuantile.TAIL_FROM));
    return q.mul(p).mul(NormalQuantile.ROOT2);
  }

  private static FloatVector log(FloatVector a) {
    IntVector bits = a.reinterpretAsInts();
    IntVector exponent = bits.sub(NormalQuantile.ROOT_HALF).lanewise(VectorOperators.ASHR, 23);
    FloatVector x =
        bits.sub(exponent.lanewise(VectorOperators.LSHL, 23)).reinterpretAsFloats().sub(1f);
    FloatVector e = VectorLanes.toFloats(exponent);
    FloatVector z = x.mul(x);
    FloatVector y = polynomial(NormalQuantile.LOG, x).mul(x).mul(z);
    y = e.fma(FloatVector.broadcast(F, NormalQuantile.LN2_LOW), y);
    y = z.fma(FloatVector.broadcast(F, -0.5f), y);
    return e.fma(FloatVector.broadcast(F, NormalQuantile.LN2_HIGH), x.add(y));
  }

  private static FloatVector polynomial(float[] coefficients, FloatVector x) {
    FloatVector sum = FloatVector.broadcast(F, coefficients[0]);
    for (int i = 1; i < coefficients.length; i++) {
      sum = sum.fma(x, FloatVector.broadcast(F, coefficients[i]));
    }
    return sum;
  }
}
