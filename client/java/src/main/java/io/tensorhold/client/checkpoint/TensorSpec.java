package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;

/**
 * One tensor to be written: its name, element type and shape.
 *
 * @throws ArithmeticException if its size in bytes overflows
 * @throws IllegalArgumentException if its elements do not fill whole bytes
 */
public record TensorSpec(String name, DType dtype, Shape shape) {
  /** The size of the tensor's elements in bytes. */
  public long bytes() {
    return dtype.bytes(shape.elements());
  }
}
