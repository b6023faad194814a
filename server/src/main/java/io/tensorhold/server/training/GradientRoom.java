package io.tensorhold.server.training;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.util.concurrent.atomic.AtomicLong;

/** Bytes that gradients may take while they wait for those of other ranks, all shards together. */
final class GradientRoom {
  private final long limit;
  private final AtomicLong taken = new AtomicLong();

  GradientRoom(long limit) {
    this.limit = limit;
  }

  /**
   * Takes room.
   *
   * @throws Refusal LIMIT if there is not as much
   */
  void take(long bytes) {
    long now = taken.addAndGet(bytes);
    if (now > limit) {
      taken.addAndGet(-bytes);
      throw new Refusal(
          Reason.LIMIT,
          "gradients that wait for other ranks take %d bytes, and %d more have come: limit=%d;"
                  .formatted(now - bytes, bytes, limit)
              + " raise training.bsp-buffer",
          "limit-name",
          "bsp-buffer",
          "value",
          now,
          "limit",
          limit);
    }
  }

  /** Gives it back. */
  void give(long bytes) {
    taken.addAndGet(-bytes);
  }
}
