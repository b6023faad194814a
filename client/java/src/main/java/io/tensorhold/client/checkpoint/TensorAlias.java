package io.tensorhold.client.checkpoint;

/**
 * Two tensors of a checkpoint that are the same bytes: all elements of {@code name} are elements of
 * {@code of}, one after another.
 *
 * @param name the tensor that is part of the other, or the whole of it
 * @param of the tensor that has the bytes; no alias itself, and of the same dtype
 * @param firstElement where in it the other begins, row-major
 */
public record TensorAlias(String name, String of, long firstElement) {}
