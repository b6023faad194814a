package io.tensorhold.server.admin;

import java.util.concurrent.atomic.LongAdder;

/** Payload bytes that crossed the wire since the start. */
public final class Traffic {
  private final LongAdder pulled = new LongAdder();
  private final LongAdder pulledFromFollowers = new LongAdder();
  private final LongAdder pushed = new LongAdder();
  private final LongAdder decoded = new LongAdder();

  /**
   * Counts bytes that were sent.
   *
   * @param asFollower in a pull of a replica that does not lead, within a stated staleness
   */
  public void addPulled(long bytes, boolean asFollower) {
    pulled.add(bytes);
    if (asFollower) {
      pulledFromFollowers.add(bytes);
    }
  }

  /** Counts bytes that were received. */
  public void addPushed(long bytes) {
    pushed.add(bytes);
  }

  /** Counts what a push takes as f32; its codec saved the difference. */
  public void addDecoded(long bytes) {
    decoded.add(bytes);
  }

  /** Bytes sent so far. */
  public long pulled() {
    return pulled.sum();
  }

  /** Of those, bytes of pulls that this server answered as a follower. */
  public long pulledFromFollowers() {
    return pulledFromFollowers.sum();
  }

  /** Bytes received so far. */
  public long pushed() {
    return pushed.sum();
  }

  /** Bytes of the pushes so far as f32. */
  public long decoded() {
    return decoded.sum();
  }
}
