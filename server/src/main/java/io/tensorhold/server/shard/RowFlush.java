package io.tensorhold.server.shard;

import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.store.ShardStore;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;

/**
 * The dirty rows of a shard on their way to disk.
 *
 * <p>They are not frozen: each is copied, a few at a time under the shard's lock, as it is when its
 * turn comes, and may hold updates that came after the flush began. The log repeats those, and
 * skips them for that row by its log index. So a flush takes no more memory than {@value
 * #COPIED_ROWS} rows, and nobody waits for it.
 */
final class RowFlush implements ShardStore.RowWrites {
  private static final int COPIED_ROWS = 512;

  @SuppressWarnings("ArrayRecordComponent") // keys are read in a loop, and never changed
  private record Part(long table, RowCache cache, long[] keys) {}

  private final Object lock;
  private final List<Part> parts = new ArrayList<>();
  private final List<Long> dropped;
  private MemorySegment copies = OffHeap.allocate(0);
  private int part;
  private int next;
  private int copied;
  private int at = -1;
  private final long[] copiedKeys = new long[COPIED_ROWS];

  /**
   * Begins a flush of all dirty rows; under the lock.
   *
   * @param dropped tables whose rows are to be deleted first
   */
  RowFlush(Object lock, RowTier tier, Collection<Long> dropped) {
    this.lock = lock;
    this.dropped = List.copyOf(dropped);
    tier.all()
        .forEach(
            (table, cache) -> {
              if (cache.dirtyBytes() > 0) {
                parts.add(new Part(table, cache, cache.beginFlush()));
              }
            });
  }

  List<Long> dropped() {
    return dropped;
  }

  @Override
  public boolean next() {
    at++;
    while (at == copied) {
      if (part == parts.size()) {
        return false;
      }
      copy(parts.get(part));
    }
    return true;
  }

  /** Copies the next rows of a table, or goes to the next table if there are none. */
  private void copy(Part from) {
    at = 0;
    copied = 0;
    int rowBytes = from.cache.rowBytes();
    long needed = (long) COPIED_ROWS * rowBytes;
    if (copies.byteSize() < needed) {
      OffHeap.free(copies);
      copies = OffHeap.allocate(needed);
    }
    synchronized (lock) {
      // The rows of a table that was dropped meanwhile are gone.
      while (!from.cache.closed() && next < from.keys.length && copied < COPIED_ROWS) {
        int slot = from.cache.find(from.keys[next]);
        MemorySegment.copy(
            from.cache.page(slot),
            from.cache.offset(slot),
            copies,
            (long) copied * rowBytes,
            rowBytes);
        copiedKeys[copied++] = from.keys[next++];
      }
    }
    if (copied == 0) {
      part++;
      next = 0;
    }
  }

  @Override
  public long table() {
    return parts.get(part).table;
  }

  @Override
  public long key() {
    return copiedKeys[at];
  }

  @Override
  public MemorySegment row() {
    int rowBytes = parts.get(part).cache.rowBytes();
    return copies.asSlice((long) at * rowBytes, rowBytes);
  }

  /** Ends the flush; under the lock. */
  void end(boolean written) {
    for (Part ended : parts) {
      if (!ended.cache.closed()) {
        ended.cache.endFlush(ended.keys, written);
      }
    }
    OffHeap.free(copies);
  }
}
