package io.tensorhold.server.shard;

import io.tensorhold.server.base.OffHeap;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * Rows of one table in memory: slots of a fixed size outside the heap, and an index over them.
 *
 * <p>Slots lie in pages of a power of two of them. The index is an open-addressing table of (key,
 * slot + 1) pairs with linear probing and deletion by shifting back (Knuth, vol. 3, 6.4 R), so that
 * a look-up touches one line of the processor's cache, mostly. Its hash is MurmurHash3's 64-bit
 * finalizer, which has nothing in common with the one that chose the shard: with that one, a
 * shard's keys would crowd a part of the index.
 *
 * <p>A row is clean, the same as on disk, or dirty, or being flushed; only clean ones may leave.
 * Who leaves is decided by CLOCK with a counter (Corbató's, generalized): a use raises a row's
 * counter up to {@value #MOST_USES}, the hand lowers it, and takes the row that has none. A row
 * begins without one, so that rows that are used once do not push out those that are used again.
 */
final class RowCache {
  static final int ABSENT = -1;

  private static final long PAGE_BYTES = 256 << 10;
  private static final int MOST_USES = 3;
  private static final int USES = 3;
  private static final int USED = 4;
  private static final int DIRTY = 8;
  private static final int FLUSHING = 16;
  private static final int AHEAD = 32;

  private final int rowBytes;
  private final int slotBytes;
  private final int pageShift;
  private MemorySegment[] pages = new MemorySegment[0];
  private long[] keys = new long[0];
  private byte[] flags = new byte[0];
  private int[] free = new int[0];
  private int freeCount;
  private long[] index = new long[2 * 64];
  private int mask = 63;
  private int rows;
  private int hand;
  private long dirtyRows;
  private long flushingRows;
  private int pageCount;
  private boolean closed;

  /** Whether disk may hold rows of the table: if not, nobody needs to look. */
  boolean onDisk;

  /** Rows of so many bytes, in pages of 256 KiB or a 16th of a budget, if that is less. */
  RowCache(int rowBytes, long budget) {
    this.rowBytes = rowBytes;
    this.slotBytes = (rowBytes + 15) & ~15;
    long slots = Math.max(1, Math.min(PAGE_BYTES, budget / 16) / slotBytes);
    this.pageShift = 63 - Long.numberOfLeadingZeros(slots);
  }

  int rowBytes() {
    return rowBytes;
  }

  int rows() {
    return rows;
  }

  long bytes() {
    return pageCount * pageBytes() + 8L * index.length;
  }

  long pageBytes() {
    return (long) slotBytes << pageShift;
  }

  long dirtyBytes() {
    return dirtyRows * slotBytes;
  }

  long unflushedBytes() {
    return (dirtyRows + flushingRows) * slotBytes;
  }

  boolean closed() {
    return closed;
  }

  boolean full() {
    return freeCount == 0;
  }

  /** The slot of a key, or {@link #ABSENT}. */
  int find(long key) {
    int at = hash(key) & mask;
    while (true) {
      int slot = (int) index[2 * at + 1] - 1;
      if (slot < 0 || index[2 * at] == key) {
        return slot;
      }
      at = (at + 1) & mask;
    }
  }

  /** Counts a use of a row. */
  void use(int slot) {
    if ((flags[slot] & USES) < MOST_USES) {
      flags[slot]++;
    }
  }

  MemorySegment page(int slot) {
    return pages[slot >>> pageShift];
  }

  long offset(int slot) {
    return (long) (slot & ((1 << pageShift) - 1)) * slotBytes;
  }

  /** A slot for a key that has none, clean, with undefined bytes; there must be a free one. */
  int insert(long key) {
    if (3L * (rows + 1) > 2L * (mask + 1)) {
      grow();
    }
    int slot = free[--freeCount];
    keys[slot] = key;
    flags[slot] = USED;
    put(key, slot);
    rows++;
    return slot;
  }

  private void put(long key, int slot) {
    int at = hash(key) & mask;
    while (index[2 * at + 1] != 0) {
      at = (at + 1) & mask;
    }
    index[2 * at] = key;
    index[2 * at + 1] = slot + 1L;
  }

  private void grow() {
    long[] old = index;
    index = new long[Math.multiplyExact(2, old.length)];
    mask = index.length / 2 - 1;
    for (int i = 0; i < old.length; i += 2) {
      if (old[i + 1] != 0) {
        put(old[i], (int) old[i + 1] - 1);
      }
    }
  }

  /** Forgets a row. */
  void remove(int slot) {
    if ((flags[slot] & DIRTY) != 0) {
      dirtyRows--;
    }
    if ((flags[slot] & FLUSHING) != 0) {
      flushingRows--;
    }
    flags[slot] = 0;
    free[freeCount++] = slot;
    rows--;
    int hole = hash(keys[slot]) & mask;
    while (index[2 * hole + 1] != slot + 1L) {
      hole = (hole + 1) & mask;
    }
    for (int at = (hole + 1) & mask; index[2 * at + 1] != 0; at = (at + 1) & mask) {
      int home = hash(index[2 * at]) & mask;
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        index[2 * hole] = index[2 * at];
        index[2 * hole + 1] = index[2 * at + 1];
        hole = at;
      }
    }
    index[2 * hole + 1] = 0;
  }

  private static int hash(long key) {
    long h = key;
    h = (h ^ (h >>> 33)) * 0xff51afd7ed558ccdL;
    h = (h ^ (h >>> 33)) * 0xc4ceb9fe1a85ec53L;
    return (int) (h ^ (h >>> 33));
  }

  void markDirty(int slot) {
    if ((flags[slot] & DIRTY) == 0) {
      flags[slot] |= DIRTY;
      dirtyRows++;
    }
  }

  boolean dirty(int slot) {
    return (flags[slot] & DIRTY) != 0;
  }

  /** Takes the mark of change from a row that was copied elsewhere. */
  void clearDirty(int slot) {
    if ((flags[slot] & DIRTY) != 0) {
      flags[slot] &= ~DIRTY;
      dirtyRows--;
    }
  }

  /** The row came from disk with updates that the log is yet to repeat. */
  void markAhead(int slot) {
    flags[slot] |= AHEAD;
  }

  boolean ahead(int slot) {
    return (flags[slot] & AHEAD) != 0;
  }

  void clearAhead(int slot) {
    flags[slot] &= ~AHEAD;
  }

  /** Makes room for more rows. */
  void addPage() {
    int slots = 1 << pageShift;
    int number = 0;
    while (number < pages.length && pages[number] != null) {
      number++;
    }
    if (number == pages.length) {
      pages = Arrays.copyOf(pages, Math.max(4, 2 * number));
      keys = Arrays.copyOf(keys, Math.multiplyExact(pages.length, slots));
      flags = Arrays.copyOf(flags, keys.length);
      free = Arrays.copyOf(free, keys.length);
    }
    pages[number] = OffHeap.allocate(pageBytes());
    pageCount++;
    for (int slot = slots - 1; slot >= 0; slot--) {
      free[freeCount++] = number * slots + slot;
    }
  }

  /** Evicts a clean row that was not used lately; false: there is no clean one. */
  boolean evict() {
    if (dirtyRows + flushingRows >= rows) {
      return false;
    }
    for (long steps = (MOST_USES + 2L) * flags.length; steps > 0; steps--) {
      int slot = hand;
      hand = hand + 1 == flags.length ? 0 : hand + 1;
      int flag = flags[slot];
      if ((flag & USED) != 0 && (flag & (DIRTY | FLUSHING)) == 0) {
        if ((flag & USES) == 0) {
          remove(slot);
          return true;
        }
        flags[slot]--;
      }
    }
    return false;
  }

  /** Gives up a page without dirty rows, and evicts its rows; false: there is none. */
  boolean dropPage() {
    for (int page = 0; page < pages.length; page++) {
      if (pages[page] != null && clean(page)) {
        int first = page << pageShift;
        int end = (page + 1) << pageShift;
        for (int slot = first; slot < end; slot++) {
          if ((flags[slot] & USED) != 0) {
            remove(slot);
          }
        }
        int kept = 0;
        for (int i = 0; i < freeCount; i++) {
          if (free[i] < first || free[i] >= end) {
            free[kept++] = free[i];
          }
        }
        freeCount = kept;
        OffHeap.free(pages[page]);
        pages[page] = null;
        pageCount--;
        return true;
      }
    }
    return false;
  }

  private boolean clean(int page) {
    for (int slot = page << pageShift; slot < (page + 1) << pageShift; slot++) {
      if ((flags[slot] & (DIRTY | FLUSHING)) != 0) {
        return false;
      }
    }
    return true;
  }

  int pages() {
    return pageCount;
  }

  /** Keys of all rows, rising. */
  long[] sortedKeys() {
    return collect(USED);
  }

  private long[] collect(int flag) {
    long[] found = new long[rows];
    int count = 0;
    for (int slot = 0; slot < flags.length; slot++) {
      if ((flags[slot] & flag) != 0) {
        found[count++] = keys[slot];
      }
    }
    long[] sorted = Arrays.copyOf(found, count);
    Arrays.sort(sorted);
    return sorted;
  }

  /** Keys of dirty rows, rising, which are being flushed from now on. */
  long[] beginFlush() {
    long[] flushed = collect(DIRTY);
    for (int slot = 0; slot < flags.length; slot++) {
      if ((flags[slot] & DIRTY) != 0) {
        flags[slot] = (byte) ((flags[slot] & ~DIRTY) | FLUSHING);
      }
    }
    flushingRows = flushed.length;
    dirtyRows = 0;
    return flushed;
  }

  /** Ends a flush: its rows are clean, or dirty again if it failed. */
  void endFlush(long[] flushed, boolean written) {
    for (long key : flushed) {
      int slot = find(key);
      if (slot != ABSENT && (flags[slot] & FLUSHING) != 0) {
        flags[slot] &= ~FLUSHING;
        if (!written) {
          markDirty(slot);
        }
      }
    }
    flushingRows = 0;
    onDisk |= written && flushed.length > 0;
  }

  /** Frees the memory. */
  void close() {
    closed = true;
    for (MemorySegment page : pages) {
      if (page != null) {
        OffHeap.free(page);
      }
    }
    pages = new MemorySegment[0];
    pageCount = 0;
    rows = 0;
    index = new long[2];
    mask = 0;
    freeCount = 0;
    dirtyRows = 0;
    flushingRows = 0;
  }
}
