package io.tensorhold.server.shard;

/** What became of a command of the log. Ids travel from the state machine to its leader only. */
public enum Outcome {
  /** Done. */
  APPLIED(0),
  /** It had been done before: this is a retry. */
  DUPLICATE(1),
  /** Its session is forgotten. */
  EXPIRED(2),
  /** Its session has too many pushes above its low-water mark. */
  WINDOW_FULL(3),
  /** It does not fit the shard's state, such as a push to a parameter that was dropped. */
  INVALID(4),
  /** A newer session holds its rank. */
  FENCED(5),
  /** Its step was made without it, or is long past. */
  CLOSED(6),
  /** Its session has pushed that part of that step with other bytes. */
  CONFLICT(7),
  /** An earlier step of its rank is not whole yet, or the step has another number of parts. */
  UNFINISHED(8);

  private static final Outcome[] ALL = values();

  final byte id;

  Outcome(int id) {
    this.id = (byte) id;
  }

  /** The outcome with an id from {@link ShardMachine#apply}. */
  public static Outcome of(byte id) {
    return ALL[id];
  }
}
