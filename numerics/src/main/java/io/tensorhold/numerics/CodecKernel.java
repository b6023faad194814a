package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * The loops of one codec. Memory, offsets and bounds are as {@link Kernels} says; source and
 * destination do not overlap.
 */
interface CodecKernel {
  /** Encodes {@code n} f32 values; a last group is filled up with zeros. */
  void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n);

  /**
   * Decodes {@code n} elements to f32; a value that is NaN becomes 7FC00000 where it is computed.
   */
  void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n);

  /** The index of the first element whose value is NaN or infinite, or −1 if there is none. */
  int firstNonFinite(MemorySegment encoded, long offset, int n);

  /** Encodes with {@link StochasticRounding}; only where {@link Codec#stochastic} says so. */
  default void encodeStochastic(
      MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n, long seed) {
    throw new UnsupportedOperationException("this codec rounds to nearest only");
  }
}
