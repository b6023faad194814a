package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;

/** One tensor to be written: its name, element type and shape. */
public record TensorSpec(String name, DType dtype, Shape shape) {
  /**
   * The size of the tensor's elements in bytes.
   *
   * @throws ArithmeticException if it overflows
   * @throws IllegalArgumentException if the elements do not fill whole bytes
   */
  public long bytes() {
    return dtype.bytes(shape.elements());
  }
}
