package io.tensorhold.server.shard;

import io.tensorhold.numerics.Initializer;

/**
 * What makes a parameter a table.
 *
 * @param dim elements of a row
 * @param initializer of rows that nothing was written to
 * @param seed of the initializer, and so of the whole table
 */
public record TableForm(int dim, Initializer initializer, long seed) {}
