package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * The loops over elements: one scalar implementation and one with SIMD, bit-equal, chosen once.
 *
 * <p>All memory is little-endian, native or backed by a {@code byte[]}, at any alignment. Offsets
 * are bytes, {@code n} counts elements. Operands are either the same memory or do not overlap.
 * Callers check bounds; {@link Codec} and {@link Optimizer} do.
 *
 * <p>Results are the same on every processor and from both implementations: arithmetic is f32 in
 * the order each method states, rounded after every operation, but for the fused multiply-adds that
 * optimizers state; subnormals are kept, and a result that is NaN is always stored as 7FC00000,
 * because which NaN an operation gives is up to the processor.
 */
public interface Kernels {
  /** The fastest kernels that this JVM can run; the same object each time. */
  static Kernels best() {
    return KernelChoice.BEST;
  }

  /** The plain loops, which are the reference. */
  static Kernels scalar() {
    return ScalarKernels.INSTANCE;
  }

  /** What these kernels are, for logs: such as {@code "scalar"} or {@code "simd-512"}. */
  String name();

  /**
   * The loops of a codec; the same object each time.
   *
   * @throws UnsupportedOperationException if the codec is RAW
   */
  CodecKernel codec(Codec codec);

  /** w = w + g. Also how the gradients of a BSP step are accumulated. */
  void add(MemorySegment w, long wOff, MemorySegment g, long gOff, int n);

  /** x = x · factor. */
  void scale(MemorySegment f32, long off, float factor, int n);

  /** The loops of optimizers, of the same kind as these. */
  OptimizerKernels optimizers();

  /** The loops that fill memory with pseudorandom values, of the same kind as these. */
  RandomKernels random();
}
