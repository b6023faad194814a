package io.tensorhold.server.shard;

/**
 * How far a rank has come on a shard.
 *
 * @param session that holds it
 * @param step the last whole one
 * @param clock where it stands for those that wait for it: {@code step}, or where it began
 */
public record RankStep(long session, long step, long clock) {}
