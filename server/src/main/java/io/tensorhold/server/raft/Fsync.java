package io.tensorhold.server.raft;

import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * When what a log holds is brought to disk; a loss of power takes what is not there. The operating
 * system keeps what a process wrote, so that killing the process takes nothing under any level. The
 * ids are on disk: do not change.
 */
public enum Fsync {
  /** Before it is acknowledged. */
  ALWAYS(0),
  /** At most an interval after it was acknowledged. */
  INTERVAL(1),
  /** When the operating system does so. */
  NEVER(2);

  final int id;

  Fsync(int id) {
    this.id = id;
  }

  /**
   * The level of a name in a configuration.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static Fsync of(String name) {
    for (Fsync fsync : values()) {
      if (fsync.toString().equals(name)) {
        return fsync;
      }
    }
    throw new IllegalArgumentException(
        "raft.fsync: value=\"%s\" allowed=%s"
            .formatted(
                name,
                Arrays.stream(values()).map(Fsync::toString).collect(Collectors.joining(", "))));
  }

  /** The level of an id on disk; null if there is none. */
  static @Nullable Fsync ofId(int id) {
    for (Fsync fsync : values()) {
      if (fsync.id == id) {
        return fsync;
      }
    }
    return null;
  }

  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }
}
