package io.tensorhold.server.shard;

import static java.util.Objects.requireNonNull;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.RowReads;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Rows of CHECKPOINTED models as the pushes since the last checkpoint left them; what {@link
 * Overlay} is for blocks.
 *
 * <p>A checkpoint seals the rows that are there: they stay as they are at that moment, beneath
 * those that pushes change from then on, until the log holds all of them. Sealed rows of a
 * checkpoint that failed come back with the next one.
 */
public final class RowOverlay {
  private final Object lock;
  private final long limit;
  private final RowUpdate update;
  private final OverlayPushes taken;
  private final Base base;
  private final TreeMap<Long, RowCache> caches = new TreeMap<>(Long::compareUnsigned);
  private final TreeMap<Long, RowCache> sealed = new TreeMap<>(Long::compareUnsigned);
  private int[] slots = new int[RowReads.MOST];
  private long term;
  private long pushes;

  /**
   * Empty.
   *
   * @param lock the machine: public methods take it, the others run under it
   * @param limit of bytes
   * @param taken which pushes the overlays have
   */
  RowOverlay(Object lock, long limit, RowUpdate update, OverlayPushes taken, Base base) {
    this.lock = lock;
    this.limit = limit;
    this.update = update;
    this.taken = taken;
    this.base = base;
  }

  /** Where rows come from that the overlay does not have. */
  interface Base {
    /** Copies those of some keys of a table to rows of the overlay. */
    void bring(ParameterRecord table, RowCache rows, long[] keys, int from, int to);
  }

  /** Begins a term: what another one left is dropped. */
  void enter(long newTerm) {
    taken.enter(newTerm);
    if (newTerm != term) {
      clear();
      term = newTerm;
    }
  }

  /**
   * Where a row of a table is to be looked for, in this order: the last is its state in the log.
   */
  RowCache[] over(RowCache logged, long table) {
    RowCache changed = caches.get(table);
    RowCache ofCheckpoint = sealed.get(table);
    if (changed == null && ofCheckpoint == null) {
      return new RowCache[] {logged};
    }
    return Stream.of(changed, ofCheckpoint, logged)
        .filter(Objects::nonNull)
        .toArray(RowCache[]::new);
  }

  /**
   * Applies a push outside the log.
   *
   * @param pushTerm the leader's term: what is of an earlier one is dropped first
   * @param model see {@link StepMark} for its id
   * @param mark the part of a worker's step that it is
   * @param table which was checked
   */
  public Outcome push(
      long pushTerm, long model, RowsCommand push, @Nullable StepMark mark, ParameterRecord table) {
    synchronized (lock) {
      enter(pushTerm);
      List<Tag> tags = List.of(push.tag());
      Outcome objection = taken.objection(model, tags, mark);
      if (objection != null) {
        return objection;
      }
      apply(push, table);
      taken.applied(model, tags, mark);
      return Outcome.APPLIED;
    }
  }

  private void apply(RowsCommand push, ParameterRecord table) {
    RowCache rows = caches.computeIfAbsent(table.id(), id -> new RowCache(table.rowBytes(), limit));
    long[] keys = push.keys();
    if (slots.length < keys.length) {
      slots = new int[keys.length];
    }
    rows.find(keys, 0, keys.length, slots);
    int fresh = 0;
    for (int i = 0; i < keys.length; i++) {
      fresh += slots[i] == RowCache.ABSENT ? 1 : 0;
    }
    requireRoom(rows, fresh);
    long valueBytes = RowUpdate.bytes(table, push);
    for (int from = 0; from < keys.length; from += RowReads.MOST) {
      int to = Math.min(keys.length, from + RowReads.MOST);
      if (fresh > 0) {
        base.bring(table, rows, keys, from, to);
        rows.find(keys, from, to, slots);
      }
      rows.touch(slots, from, to, rows.rowBytes());
      for (int i = from; i < to; i++) {
        MemorySegment page = rows.page(slots[i]);
        long row = rows.offset(slots[i]);
        update.apply(table, push, keys[i], push.values(), i * valueBytes, page, row, pushes);
      }
    }
    pushes++;
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

  /** Keeps the rows of the tables from first to last as they are, for a checkpoint. */
  public void seal(long askedTerm, long first, long last) {
    synchronized (lock) {
      enter(askedTerm);
      for (long table : tables(caches, first, last)) {
        RowCache rows = requireNonNull(caches.remove(table));
        RowCache left = sealed.put(table, rows);
        if (left != null) {
          for (long key : left.sortedKeys()) {
            if (rows.find(key) == RowCache.ABSENT) {
              copy(left, left.find(key), rows, insert(rows, key));
            }
          }
          left.close();
        }
      }
    }
  }

  private static List<Long> tables(Map<Long, RowCache> caches, long first, long last) {
    return caches.keySet().stream()
        .filter(table -> DroppedParameters.between(first, table, last))
        .toList();
  }

  /** Copies a row from one slot to another. */
  static void copy(RowCache from, int slot, RowCache to, int target) {
    MemorySegment.copy(
        from.page(slot), from.offset(slot), to.page(target), to.offset(target), to.rowBytes());
  }

  /** Keys of a table's sealed rows, rising; none in another term. */
  public long[] sealedKeys(long askedTerm, long table) {
    synchronized (lock) {
      RowCache rows = askedTerm == term ? sealed.get(table) : null;
      return rows == null ? new long[0] : rows.sortedKeys();
    }
  }

  /** Those of some sealed rows that are there, for the log. */
  public RowsPut sealedRows(long askedTerm, long table, long[] keys, int from, int to) {
    synchronized (lock) {
      return copySealed(askedTerm == term ? sealed.get(table) : null, table, keys, from, to);
    }
  }

  private static RowsPut copySealed(
      @Nullable RowCache rows, long table, long[] keys, int from, int to) {
    int rowBytes = rows == null ? 0 : rows.rowBytes();
    long[] copied = new long[to - from];
    MemorySegment bytes = MemorySegment.ofArray(new byte[Math.multiplyExact(to - from, rowBytes)]);
    int count = 0;
    for (int i = from; rows != null && i < to; i++) {
      int slot = rows.find(keys[i]);
      if (slot != RowCache.ABSENT) {
        long at = (long) count * rowBytes;
        MemorySegment.copy(rows.page(slot), rows.offset(slot), bytes, at, rowBytes);
        copied[count++] = keys[i];
      }
    }
    return new RowsPut(
        table, Arrays.copyOf(copied, count), bytes.asSlice(0, (long) count * rowBytes));
  }

  /** Forgets the sealed rows of a table: the log holds them now. */
  public void logged(long askedTerm, long table) {
    synchronized (lock) {
      RowCache rows = askedTerm == term ? sealed.remove(table) : null;
      if (rows != null) {
        rows.close();
      }
    }
  }

  long bytes() {
    long sum = 0;
    for (RowCache cache : caches.values()) {
      sum += cache.bytes();
    }
    for (RowCache cache : sealed.values()) {
      sum += cache.bytes();
    }
    return sum;
  }

  /** Forgets tables. */
  void drop(long first, long last) {
    for (Map<Long, RowCache> some : List.of(caches, sealed)) {
      for (long table : tables(some, first, last)) {
        requireNonNull(some.remove(table)).close();
      }
    }
  }

  void clear() {
    for (Map<Long, RowCache> some : List.of(caches, sealed)) {
      some.values().forEach(RowCache::close);
      some.clear();
    }
  }
}
