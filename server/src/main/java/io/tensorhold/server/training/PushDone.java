package io.tensorhold.server.training;

/**
 * A push that is done.
 *
 * @param logIndex of the entry that holds it; 0 if it is in no log
 * @param term of the leader that did it
 * @param duplicate it had been done before
 */
public record PushDone(long logIndex, long term, boolean duplicate) {}
