package io.tensorhold.numerics;

import static io.tensorhold.numerics.VectorLanes.F;
import static io.tensorhold.numerics.VectorLanes.LANES;
import static io.tensorhold.numerics.VectorLanes.floats;
import static io.tensorhold.numerics.VectorLanes.store;

import java.lang.foreign.MemorySegment;

/**
 * The loops over elements with the JDK's Vector API, bit-equal to {@link ScalarKernels}, which also
 * does what is left over at the end of each loop.
 *
 * <p>Every method does the operations of the scalar one in the same order; each lane is one
 * element, and no lane looks at another, so neither the width of the vectors nor the alignment can
 * change a result. Codecs are in classes of their own: VectorHalf and the subclasses of {@link
 * VectorGroups}.
 */
final class VectorKernels implements Kernels {
  /** Fewer lanes than this are not worth it. */
  static final int FEWEST_LANES = 4;

  private static final OptimizerKernels OPTIMIZERS = new VectorOptimizers();
  private static final ScalarKernels TAIL = ScalarKernels.INSTANCE;

  /** How many f32 a vector of this processor holds. */
  static int lanes() {
    return LANES;
  }

  @Override
  public String name() {
    return "simd-" + F.vectorBitSize();
  }

  @Override
  public CodecKernel codec(Codec codec) {
    return switch (codec) {
      case F32 -> VectorHalf.F32.INSTANCE;
      case F16 -> VectorHalf.F16.INSTANCE;
      case BF16 -> VectorHalf.Bf16.INSTANCE;
      case Q8_0 -> VectorQ80.INSTANCE;
      case FP8_E4M3 -> VectorFp8.INSTANCE;
      case Q4_0 -> VectorQ40.INSTANCE;
      case NF4 -> VectorNf4.INSTANCE;
      case Q8_LINEAR -> VectorQ8Linear.INSTANCE;
      case TOPK -> TopK.Kernel.INSTANCE;
      case SIGN1 -> VectorSign1.INSTANCE;
      case RAW -> throw Codec.rawHasNoValues();
    };
  }

  @Override
  public void add(MemorySegment w, long wOff, MemorySegment g, long gOff, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      store(w, wOff + 4L * i, floats(w, wOff + 4L * i).add(floats(g, gOff + 4L * i)));
    }
    TAIL.add(w, wOff + 4L * bound, g, gOff + 4L * bound, n - bound);
  }

  @Override
  public void scale(MemorySegment f32, long off, float factor, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      store(f32, off + 4L * i, floats(f32, off + 4L * i).mul(factor));
    }
    TAIL.scale(f32, off + 4L * bound, factor, n - bound);
  }

  @Override
  public RandomKernels random() {
    return VectorRandomFill.INSTANCE;
  }

  @Override
  public OptimizerKernels optimizers() {
    return OPTIMIZERS;
  }
}
