package io.tensorhold.server.raft;

/**
 * A number that is equal on replicas whose state is equal.
 *
 * @param index of the log up to which the state is
 */
public record Checksum(long index, long value) {}
