package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;

/**
 * One tensor of a checkpoint: its name, element type, shape and size.
 *
 * @param name as the file spells it; unique within a checkpoint
 * @param dtype the type of its elements
 * @param shape its dimensions, outermost first
 * @param bytes the size of its elements, row-major and little-endian, in bytes
 * @param codec what its bytes are encoded in: the dtype's own codec, but in quantized files
 */
public record TensorEntry(String name, DType dtype, Shape shape, long bytes, Codec codec) {
  /** A tensor whose elements are as its dtype says. */
  public TensorEntry(String name, DType dtype, Shape shape, long bytes) {
    this(name, dtype, shape, bytes, Codec.nativeOf(dtype));
  }
}
