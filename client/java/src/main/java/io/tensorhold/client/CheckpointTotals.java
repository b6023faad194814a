package io.tensorhold.client;

/** What a checkpoint wrote to the logs of all shards. */
public record CheckpointTotals(int blocks, long bytes) {}
