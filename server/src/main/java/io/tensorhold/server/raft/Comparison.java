package io.tensorhold.server.raft;

/**
 * What this server knows of comparisons of a shard's replicas.
 *
 * @param index of the log at which most replicas were last found equal; −1: not yet, or another
 *     server leads them
 * @param difference how the replicas differ if no majority agrees, for people; else empty
 * @param refetched how often the replica here was found to differ, and was fetched again
 */
public record Comparison(long index, String difference, long refetched) {}
