package io.tensorhold.server.raft;

import io.tensorhold.server.shard.StateChecksum;
import io.tensorhold.server.store.StoreException;
import io.tensorhold.server.store.StoreScan;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.LockSupport;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The checksums of one replica's state at the indices of COMPARE entries; the last {@value #KEPT}
 * are kept.
 *
 * <p>At the entry the state is flushed, so that the database holds just that index; what it holds
 * is then read in the background, at {@value #BYTES_PER_SECOND} bytes a second at most, while
 * entries are applied and flushed as ever. One walk at a time: an entry that comes meanwhile gets
 * no checksum.
 */
final class StateChecksums {
  private static final Logger log = LoggerFactory.getLogger(StateChecksums.class);
  static final int KEPT = 2;

  /** A comparison must not take the disk from those who train. */
  static final long BYTES_PER_SECOND = 64 << 20;

  private final int shard;
  private final Executor executor;
  private final TreeMap<Long, Long> byIndex = new TreeMap<>();
  private boolean walking;

  StateChecksums(int shard, Executor executor) {
    this.shard = shard;
    this.executor = executor;
  }

  /** The checksum of what a walk gives, as fast as the disk does. */
  static Checksum of(StoreScan scan) {
    StateChecksum checksum = new StateChecksum();
    while (scan.step(checksum) >= 0) {}
    return new Checksum(checksum.index(), checksum.value());
  }

  /** The checksum at an index; empty as long as there is none. */
  synchronized OptionalLong at(long index) {
    Long checksum = byIndex.get(index);
    return checksum == null ? OptionalLong.empty() : OptionalLong.of(checksum);
  }

  /** Starts to compute the checksum of what a walk gives, which is closed at the end. */
  void begin(long index, StoreScan scan) {
    synchronized (this) {
      if (walking) {
        scan.close();
        return;
      }
      walking = true;
    }
    try {
      executor.execute(() -> walk(index, scan));
    } catch (RejectedExecutionException stopping) {
      end(scan);
    }
  }

  private void walk(long index, StoreScan scan) {
    try {
      StateChecksum checksum = new StateChecksum();
      long start = System.nanoTime();
      long bytes = 0;
      for (long step = 0; step >= 0; step = scan.step(checksum)) {
        bytes += step;
        long ahead = bytes * 1000 / BYTES_PER_SECOND * 1_000_000 - (System.nanoTime() - start);
        if (ahead > 0) {
          LockSupport.parkNanos(ahead);
        }
      }
      synchronized (this) {
        byIndex.put(index, checksum.value());
        while (byIndex.size() > KEPT) {
          byIndex.pollFirstEntry();
        }
      }
    } catch (StoreException e) {
      log.info("shard {} has no checksum at index {}: {}", shard, index, e.getMessage());
    } catch (RuntimeException e) {
      log.error("the checksum of shard {} at index {} failed", shard, index, e);
    } finally {
      end(scan);
    }
  }

  private void end(StoreScan scan) {
    scan.close();
    synchronized (this) {
      walking = false;
    }
  }
}
