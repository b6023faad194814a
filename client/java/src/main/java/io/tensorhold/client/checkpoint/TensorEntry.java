package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;

/**
 * One tensor of a checkpoint: its name, element type, shape and size.
 *
 * @param name as the file spells it; unique within a checkpoint
 * @param dtype the type of its elements
 * @param shape its dimensions, outermost first
 * @param bytes the size of its elements, row-major and little-endian, in bytes
 */
public record TensorEntry(String name, DType dtype, Shape shape, long bytes) {}
