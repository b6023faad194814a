package io.tensorhold.client;

/**
 * Gradients of rows of a table, as a part of a worker's step: each row makes one step of the
 * table's optimizer.
 *
 * @param keys in any order; values of a key that comes several times are added up
 * @param values f32, row after row in the order of the keys; both arrays may be used again when the
 *     step was sent
 */
@SuppressWarnings("ArrayRecordComponent") // read once, and never changed
public record RowGradients(Table table, long[] keys, float[] values) {}
