package io.tensorhold.server.shard;

import io.tensorhold.server.base.OffHeap;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Rows of one table in memory: slots of a fixed size outside the heap, and an index over them.
 *
 * <p>Slots lie in pages of a power of two of them; a slot is a row and its key, or, if it is free,
 * the next free one. The heap has one byte for a slot.
 *
 * <p>A row is clean, the same as on disk, or dirty, or being flushed; only clean ones may leave.
 * Who leaves is decided by CLOCK with a counter (Corbató's, generalized): a use raises a row's
 * counter up to {@value #MOST_USES}, the hand lowers it, and takes the row that has none. A row
 * begins without one, so that rows that are used once do not push out those that are used again.
 */
final class RowCache {
  static final int ABSENT = RowIndex.ABSENT;

  private static final long PAGE_BYTES = 256 << 10;
  private static final int LINE_BYTES = 64;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;
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
  private byte[] flags = new byte[0];
  private int firstFree = ABSENT;
  private final RowIndex index = new RowIndex();
  private int rows;
  private int hand;
  private long dirtyRows;
  private long flushingRows;
  private int pageCount;
  private boolean closed;

  /** Written so that the reads of {@link #touch} are not optimized away. */
  @SuppressWarnings("UnusedVariable")
  private long touched;

  /** Whether disk may hold rows of the table: if not, nobody needs to look. */
  boolean onDisk;

  /** Rows of so many bytes, in pages of 256 KiB or a 16th of a budget, if that is less. */
  RowCache(int rowBytes, long budget) {
    this.rowBytes = rowBytes;
    this.slotBytes = (rowBytes + Long.BYTES + 7) & ~7;
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
    return pageCount * pageBytes() + index.bytes();
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
    return firstFree == ABSENT;
  }

  /** The slot of a key, or {@link #ABSENT}. */
  int find(long key) {
    return index.find(key);
  }

  /** The key of a slot, or the next free slot. */
  private long key(int slot) {
    return page(slot).get(LONG, offset(slot) + slotBytes - Long.BYTES);
  }

  private void setKey(int slot, long key) {
    page(slot).set(LONG, offset(slot) + slotBytes - Long.BYTES, key);
  }

  /** Looks up some keys: the slot of the i-th, or {@link #ABSENT}, goes to {@code slots[i]}. */
  void find(long[] wanted, int from, int to, int[] slots) {
    for (int i = from; i < to; i++) {
      slots[i] = find(wanted[i]);
    }
  }

  /**
   * Touches the first {@code bytes} bytes of some rows that are wanted next: the processor then
   * fetches several of them at once, where one after another would cost memory's latency each.
   */
  void touch(int[] slots, int from, int to, long bytes) {
    long sum = 0;
    for (int i = from; i < to; i++) {
      if (slots[i] != ABSENT) {
        MemorySegment page = page(slots[i]);
        long row = offset(slots[i]);
        for (long at = row; at < row + bytes; at += LINE_BYTES) {
          sum += page.get(ValueLayout.JAVA_BYTE, at);
        }
      }
    }
    touched += sum;
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
    int slot = firstFree;
    firstFree = (int) key(slot);
    setKey(slot, key);
    flags[slot] = USED;
    index.put(key, slot);
    rows++;
    return slot;
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
    rows--;
    index.remove(key(slot));
    free(slot);
  }

  private void free(int slot) {
    setKey(slot, firstFree);
    firstFree = slot;
  }

  void markDirty(int slot) {
    if ((flags[slot] & DIRTY) == 0) {
      flags[slot] |= DIRTY;
      dirtyRows++;
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
      flags = Arrays.copyOf(flags, Math.multiplyExact(pages.length, slots));
    }
    pages[number] = OffHeap.allocate(pageBytes());
    pageCount++;
    for (int slot = slots - 1; slot >= 0; slot--) {
      free(number * slots + slot);
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
        int slot = firstFree;
        firstFree = ABSENT;
        while (slot != ABSENT) {
          int next = (int) key(slot);
          if (slot < first || slot >= end) {
            free(slot);
          }
          slot = next;
        }
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
    return collect(USED, rows);
  }

  /** Keys of the rows that disk may not have, rising. */
  long[] unflushedKeys() {
    int count = 0;
    for (byte flag : flags) {
      count += (flag & (DIRTY | FLUSHING)) != 0 ? 1 : 0;
    }
    return collect(DIRTY | FLUSHING, count);
  }

  private long[] collect(int flag, int count) {
    long[] found = new long[count];
    int next = 0;
    for (int slot = 0; slot < flags.length; slot++) {
      if ((flags[slot] & flag) != 0) {
        found[next++] = key(slot);
      }
    }
    Arrays.sort(found);
    return found;
  }

  /** Keys of dirty rows, rising, which are being flushed from now on. */
  long[] beginFlush() {
    long[] flushed = collect(DIRTY, Math.toIntExact(dirtyRows));
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
    index.close();
    flags = new byte[0];
    firstFree = ABSENT;
    dirtyRows = 0;
    flushingRows = 0;
  }
}
