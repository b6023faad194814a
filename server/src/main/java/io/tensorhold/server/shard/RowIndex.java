package io.tensorhold.server.shard;

import io.tensorhold.server.base.OffHeap;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Which key has which slot: an open-addressing table outside the heap of (key, slot + 1) pairs of
 * 16 bytes, with linear probing and deletion by shifting back (Knuth, vol. 3, 6.4 R), at most two
 * thirds full, so that a look-up touches one line of the processor's cache, mostly.
 *
 * <p>Its hash is MurmurHash3's 64-bit finalizer, which has nothing in common with the one that
 * chose the shard: with that one, a shard's keys would crowd a part of the index.
 */
final class RowIndex {
  static final int ABSENT = -1;

  private static final int ENTRY_BYTES = 16;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;

  private MemorySegment entries = empty(64);
  private int mask = 63;
  private int size;

  private static MemorySegment empty(int entries) {
    return OffHeap.allocate((long) ENTRY_BYTES * entries).fill((byte) 0);
  }

  private long key(int at) {
    return entries.get(LONG, (long) ENTRY_BYTES * at);
  }

  private int slot(int at) {
    return (int) entries.get(LONG, (long) ENTRY_BYTES * at + Long.BYTES) - 1;
  }

  private void set(int at, long key, int slot) {
    entries.set(LONG, (long) ENTRY_BYTES * at, key);
    entries.set(LONG, (long) ENTRY_BYTES * at + Long.BYTES, slot + 1L);
  }

  /** The slot of a key, or {@link #ABSENT}. */
  int find(long key) {
    int at = hash(key) & mask;
    while (true) {
      int slot = slot(at);
      if (slot == ABSENT || key(at) == key) {
        return slot;
      }
      at = (at + 1) & mask;
    }
  }

  /** Adds a key that is not there. */
  void put(long key, int slot) {
    if (3L * (size + 1) > 2L * (mask + 1)) {
      grow();
    }
    size++;
    place(key, slot);
  }

  private void place(long key, int slot) {
    int at = hash(key) & mask;
    while (slot(at) != ABSENT) {
      at = (at + 1) & mask;
    }
    set(at, key, slot);
  }

  private void grow() {
    MemorySegment old = entries;
    entries = empty(Math.multiplyExact(2, mask + 1));
    mask = 2 * mask + 1;
    for (long at = 0; at < old.byteSize(); at += ENTRY_BYTES) {
      int slot = (int) old.get(LONG, at + Long.BYTES) - 1;
      if (slot != ABSENT) {
        place(old.get(LONG, at), slot);
      }
    }
    OffHeap.free(old);
  }

  /** Takes out a key that is there. */
  void remove(long key) {
    int hole = hash(key) & mask;
    while (key(hole) != key || slot(hole) == ABSENT) {
      hole = (hole + 1) & mask;
    }
    for (int at = (hole + 1) & mask; slot(at) != ABSENT; at = (at + 1) & mask) {
      int home = hash(key(at)) & mask;
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        set(hole, key(at), slot(at));
        hole = at;
      }
    }
    set(hole, 0, ABSENT);
    size--;
  }

  private static int hash(long key) {
    long h = key;
    h = (h ^ (h >>> 33)) * 0xff51afd7ed558ccdL;
    h = (h ^ (h >>> 33)) * 0xc4ceb9fe1a85ec53L;
    return (int) (h ^ (h >>> 33));
  }

  long bytes() {
    return entries.byteSize();
  }

  /** Frees the memory; nothing is looked up afterwards. */
  void close() {
    OffHeap.free(entries);
    entries = MemorySegment.NULL;
  }
}
