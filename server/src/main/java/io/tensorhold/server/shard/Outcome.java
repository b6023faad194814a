package io.tensorhold.server.shard;

/** What became of a command of the log. Ids travel from the state machine to its leader only. */
public enum Outcome {
  /** Done. */
  APPLIED,
  /** It had been done before: this is a retry. */
  DUPLICATE,
  /** Its session is forgotten. */
  EXPIRED,
  /** Its session has too many pushes above its low-water mark. */
  WINDOW_FULL,
  /** It does not fit the shard's state, such as a push to a parameter that was dropped. */
  INVALID;

  private static final Outcome[] ALL = values();

  /** The outcome with an ordinal from {@link ShardMachine#apply}. */
  public static Outcome of(byte ordinal) {
    return ALL[ordinal];
  }
}
