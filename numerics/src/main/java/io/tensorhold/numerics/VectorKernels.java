package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

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

  private static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;
  private static final int LANES = F.length();
  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final OptimizerKernels OPTIMIZERS = new VectorOptimizers();
  private static final ScalarKernels TAIL = ScalarKernels.INSTANCE;

  /** The only NaN that arithmetic stores, as Float.floatToIntBits gives it. */
  private static final FloatVector NAN = FloatVector.broadcast(F, Float.NaN);

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
      write(w, wOff + 4L * i, read(w, wOff + 4L * i).add(read(g, gOff + 4L * i)));
    }
    TAIL.add(w, wOff + 4L * bound, g, gOff + 4L * bound, n - bound);
  }

  @Override
  public void scale(MemorySegment f32, long off, float factor, int n) {
    int bound = F.loopBound(n);
    for (int i = 0; i < bound; i += LANES) {
      write(f32, off + 4L * i, read(f32, off + 4L * i).mul(factor));
    }
    TAIL.scale(f32, off + 4L * bound, factor, n - bound);
  }

  @Override
  public OptimizerKernels optimizers() {
    return OPTIMIZERS;
  }

  private static FloatVector read(MemorySegment f32, long offset) {
    return FloatVector.fromMemorySegment(F, f32, offset, LE);
  }

  private static void write(MemorySegment f32, long offset, FloatVector value) {
    value.blend(NAN, value.test(VectorOperators.IS_NAN)).intoMemorySegment(f32, offset, LE);
  }
}
