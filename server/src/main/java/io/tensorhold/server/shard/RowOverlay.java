package io.tensorhold.server.shard;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.store.RowReads;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Rows of CHECKPOINTED models as the pushes since the last checkpoint left them; what {@link
 * Overlay} is for blocks. A row is dirty here if it was pushed to since it was last copied for a
 * checkpoint.
 */
final class RowOverlay {
  private final long limit;
  private final TreeMap<Long, RowCache> caches = new TreeMap<>(Long::compareUnsigned);
  private final Sessions sessions = new Sessions();
  private long term;
  private long pushes;

  RowOverlay(long limit) {
    this.limit = limit;
  }

  /** Where rows come from that the overlay does not have. */
  interface Base {
    /** Copies those of some keys of a table to rows of the overlay. */
    void bring(ParameterRecord table, RowCache rows, long[] keys, int from, int to);
  }

  /** Begins a term: what another one left is dropped. */
  void enter(long newTerm) {
    if (newTerm != term) {
      clear();
      term = newTerm;
    }
  }

  @Nullable RowCache get(long table) {
    return caches.get(table);
  }

  private @Nullable RowCache get(long askedTerm, long table) {
    return askedTerm == term ? caches.get(table) : null;
  }

  Outcome push(
      long pushTerm, RowsCommand push, ParameterRecord table, RowUpdate update, Base base) {
    enter(pushTerm);
    Outcome objection = sessions.verdict(push.tag().session(), push.tag().seq()).objection;
    if (objection != null) {
      return objection;
    }
    RowCache rows = caches.computeIfAbsent(table.id(), id -> new RowCache(table.rowBytes(), limit));
    long[] keys = push.keys();
    int fresh = 0;
    for (long key : keys) {
      fresh += rows.find(key) == RowCache.ABSENT ? 1 : 0;
    }
    requireRoom(rows, fresh);
    long valueBytes = RowUpdate.bytes(table, push.codec());
    for (int from = 0; from < keys.length; from += RowReads.MOST) {
      int to = Math.min(keys.length, from + RowReads.MOST);
      if (fresh > 0) {
        base.bring(table, rows, keys, from, to);
      }
      for (int i = from; i < to; i++) {
        int slot = rows.find(keys[i]);
        MemorySegment page = rows.page(slot);
        long row = rows.offset(slot);
        update.apply(table, push, keys[i], push.values(), i * valueBytes, page, row, pushes);
        rows.markDirty(slot);
      }
    }
    pushes++;
    sessions.applied(push.tag().session(), push.tag().seq(), push.tag().ackedBelow(), pushes);
    return Outcome.APPLIED;
  }

  /**
   * Refuses a push whose rows may not find room.
   *
   * @throws Refusal LIMIT
   */
  private void requireRoom(RowCache cache, int newRows) {
    long needed = bytes() + (long) newRows * cache.rowBytes();
    if (needed > limit) {
      throw new Refusal(
          Reason.LIMIT,
          "the rows changed since the last checkpoint take %d bytes, limit=%d: checkpoint the model, or give the server more memory"
              .formatted(needed, limit),
          "limit-name",
          "row-overlay",
          "value",
          needed,
          "limit",
          limit);
    }
  }

  /** A slot for a row that has none. */
  static int insert(RowCache cache, long key) {
    if (cache.full()) {
      cache.addPage();
    }
    return cache.insert(key);
  }

  /** Keys of a table's rows, rising; none in another term. */
  long[] keys(long askedTerm, long table) {
    RowCache rows = get(askedTerm, table);
    return rows == null ? new long[0] : rows.sortedKeys();
  }

  /** Copies those of some rows that are there, and marks them as copied. */
  RowsPut copy(long askedTerm, long table, long[] keys, int from, int to) {
    RowCache rows = get(askedTerm, table);
    int rowBytes = rows == null ? 0 : rows.rowBytes();
    long[] copied = new long[to - from];
    MemorySegment bytes = MemorySegment.ofArray(new byte[Math.multiplyExact(to - from, rowBytes)]);
    int count = 0;
    for (int i = from; rows != null && i < to; i++) {
      int slot = rows.find(keys[i]);
      if (slot != RowCache.ABSENT) {
        rows.clearDirty(slot);
        long at = (long) count * rowBytes;
        MemorySegment.copy(rows.page(slot), rows.offset(slot), bytes, at, rowBytes);
        copied[count++] = keys[i];
      }
    }
    return new RowsPut(
        table, Arrays.copyOf(copied, count), bytes.asSlice(0, (long) count * rowBytes));
  }

  /** Forgets rows that the log holds now, unless a push has changed them since. */
  void logged(long askedTerm, RowsPut logged) {
    RowCache rows = get(askedTerm, logged.table());
    if (rows == null) {
      return;
    }
    for (long key : logged.keys()) {
      int slot = rows.find(key);
      if (slot != RowCache.ABSENT && !rows.dirty(slot)) {
        rows.remove(slot);
      }
    }
    if (rows.rows() == 0) {
      caches.remove(logged.table());
      rows.close();
    }
  }

  long bytes() {
    long sum = 0;
    for (RowCache cache : caches.values()) {
      sum += cache.bytes();
    }
    return sum;
  }

  /** Forgets tables. */
  void drop(long first, long last) {
    for (long table : new ArrayList<>(caches.keySet())) {
      if (DroppedParameters.between(first, table, last)) {
        caches.remove(table).close();
      }
    }
  }

  void clear() {
    caches.values().forEach(RowCache::close);
    caches.clear();
    sessions.clear();
  }
}
