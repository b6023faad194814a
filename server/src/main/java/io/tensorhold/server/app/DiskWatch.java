package io.tensorhold.server.app;

import java.nio.file.Path;
import java.util.function.BooleanSupplier;
import java.util.function.LongSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Whether the disk has room for writes.
 *
 * <p>A log that meets a full disk wedges its replica until a restart. So writes are refused while
 * less than a reserve is free, and taken again once there is a quarter more than the reserve.
 */
final class DiskWatch implements BooleanSupplier {
  private static final Logger log = LoggerFactory.getLogger(DiskWatch.class);
  private static final long CHECK_NANOS = 200_000_000L;

  private final LongSupplier free;
  private final long reserve;
  private volatile boolean full;
  private final long checkNanos;
  private volatile long checkedAt;

  DiskWatch(Path directory, long reserve) {
    this(() -> directory.toFile().getUsableSpace(), reserve, CHECK_NANOS);
  }

  DiskWatch(LongSupplier free, long reserve, long checkNanos) {
    this.free = free;
    this.reserve = reserve;
    this.checkNanos = checkNanos;
    this.checkedAt = System.nanoTime() - checkNanos;
  }

  @Override
  public boolean getAsBoolean() {
    if (System.nanoTime() - checkedAt >= checkNanos) {
      check();
    }
    return full;
  }

  private synchronized void check() {
    long now = free.getAsLong();
    boolean was = full;
    full = was ? now < reserve + reserve / 4 : now < reserve;
    checkedAt = System.nanoTime();
    if (full != was) {
      log.warn(
          full
              ? "the disk is full: {} bytes free, reserve {}; writes are refused, reads go on"
              : "the disk has space again: {} bytes free, reserve {}; writes are taken",
          now,
          reserve);
    }
  }
}
