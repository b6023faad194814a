package io.tensorhold.server.shard;

/** How urgently dirty blocks and rows want to be flushed. */
public enum Pressure {
  /** Not at all. */
  NONE,
  /** In the background. */
  SOON,
  /** Before the next entry is applied. */
  NOW
}
