package io.tensorhold.client;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * How a worker joins a model.
 *
 * @param rank from 0; null: the lowest that is free
 * @param workers ranks of the model, checked against the model's own; 0: not checked
 * @param label for people: host, process, job
 * @param lease how long the worker may be silent before its session ends; 1 s to 1 h. The SDK sends
 *     heartbeats three times as often
 * @param takeOver a rank that is held goes to this worker, as it should when it was started again;
 *     otherwise it is refused (RANK_TAKEN)
 */
public record JoinOptions(
    @Nullable Integer rank, int workers, String label, Duration lease, boolean takeOver) {
  /** Fifteen seconds; labelled by host and process; takes over. */
  public JoinOptions(@Nullable Integer rank, int workers) {
    this(rank, workers, thisProcess(), Duration.ofSeconds(15), true);
  }

  private static String thisProcess() {
    String host = System.getenv("HOSTNAME");
    return "%s pid %d".formatted(host == null ? "a host" : host, ProcessHandle.current().pid());
  }

  /** The same with another label. */
  public JoinOptions withLabel(String other) {
    return new JoinOptions(rank, workers, other, lease, takeOver);
  }

  /** The same with another lease. */
  public JoinOptions withLease(Duration other) {
    return new JoinOptions(rank, workers, label, other, takeOver);
  }

  /** The same, but a rank that is held stays its holder's. */
  public JoinOptions withoutTakeOver() {
    return new JoinOptions(rank, workers, label, lease, false);
  }
}
