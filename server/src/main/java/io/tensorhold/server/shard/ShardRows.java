package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.RowLayout;
import io.tensorhold.server.store.RowReads;
import io.tensorhold.server.store.ShardStore;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.TreeSet;
import java.util.function.IntConsumer;
import java.util.function.LongPredicate;
import org.jspecify.annotations.Nullable;

/**
 * The tables' part of a shard: its rows in memory and on disk, and what pushes make of them.
 *
 * <p>It is a part of {@link ShardMachine}: methods that are not public run under the machine's
 * lock, and public ones take it.
 *
 * <p>A row on disk may be ahead of the state's index, because a flush does not freeze rows ({@link
 * RowFlush}). Such a row is marked when it is read, and skips the log up to its own index.
 */
public final class ShardRows {
  /** Rows looked up together: those that are found are used before the others push them out. */
  private static final int CHUNK = RowReads.MOST;

  final Object lock;
  final ShardStore store;
  private final ShardState state;
  private final ParameterTable parameters;
  private final RowTier tier;
  private final RowOverlay overlay;
  private final RowUpdate update;
  final RowReads reads;
  private final TreeSet<Long> deletions = new TreeSet<>(Long::compareUnsigned);
  private final long[] missed = new long[CHUNK];
  private final int[] missedAt = new int[CHUNK];
  private int[] slots = new int[CHUNK];
  boolean closed;
  private long rowsRead;
  private long rowsFromDisk;

  ShardRows(
      Object lock,
      ShardStore store,
      ShardState state,
      ParameterTable parameters,
      OverlayPushes pushes,
      long budget,
      Kernels kernels) {
    this.lock = lock;
    this.store = store;
    this.state = state;
    this.parameters = parameters;
    this.tier = new RowTier(budget, store);
    this.update = new RowUpdate(kernels);
    this.overlay = new RowOverlay(lock, budget / 2, update, pushes, this::bring);
    this.reads = store.rowReads();
  }

  /** Applies a push of the log. */
  Outcome push(long index, RowsCommand push, @Nullable StepMark mark) {
    List<Tag> tags = List.of(push.tag());
    Outcome objection = state.objection(tags, mark);
    if (objection != null) {
      return objection;
    }
    ParameterRecord table = parameters.get(push.table());
    if (table == null || !fits(push, table)) {
      return Outcome.INVALID;
    }
    push(index, push, table);
    state.applied(tags, mark);
    return Outcome.APPLIED;
  }

  /** Whether a command of the log fits a table. */
  private static boolean fits(RowsCommand push, ParameterRecord table) {
    try {
      RowsCheck.check("table", table, push, push.values().byteSize());
      return true;
    } catch (Refusal e) {
      return false;
    }
  }

  private void push(long index, RowsCommand push, ParameterRecord table) {
    long valueBytes = RowUpdate.bytes(table, push);
    update(
        table,
        push.keys(),
        (cache, slot, i) -> pushRow(index, push, table, cache, slot, i, i * valueBytes));
  }

  /** Changes a row in memory: the i-th of those that a command names. */
  private interface RowChange {
    void change(RowCache cache, int slot, int i);
  }

  /** Brings rows to memory and changes them; those that are there come first, and can't leave. */
  private void update(ParameterRecord table, long[] keys, RowChange change) {
    RowCache cache = tier.of(table);
    for (int from = 0; from < keys.length; from += CHUNK) {
      int to = Math.min(keys.length, from + CHUNK);
      int misses = 0;
      find(cache, keys, from, to, cache.rowBytes());
      for (int i = from; i < to; i++) {
        int slot = slots[i];
        if (slot == RowCache.ABSENT) {
          missed[misses] = keys[i];
          missedAt[misses++] = i;
        } else {
          cache.use(slot);
          change.change(cache, slot, i);
        }
      }
      look(table, cache, misses);
      for (int m = 0; m < misses; m++) {
        int slot = tier.insert(cache, missed[m]);
        fillMissed(table, cache, slot, m);
        change.change(cache, slot, missedAt[m]);
      }
    }
  }

  /** Finds some rows, and fetches the first bytes of each. */
  private void find(RowCache cache, long[] keys, int from, int to, int bytes) {
    if (slots.length < to) {
      slots = new int[Math.max(to, 2 * slots.length)];
    }
    rowsRead += to - from;
    cache.find(keys, from, to, slots);
    cache.touch(slots, from, to, bytes);
  }

  private void pushRow(
      long index,
      RowsCommand push,
      ParameterRecord table,
      RowCache cache,
      int slot,
      int i,
      long valuesAt) {
    MemorySegment page = cache.page(slot);
    long row = cache.offset(slot);
    if (skips(cache, slot, page, row, index)) {
      return;
    }
    update.apply(table, push, push.keys()[i], push.values(), valuesAt, page, row, index);
    RowLayout.setLogIndex(page, row, index);
    cache.markDirty(slot);
  }

  /** Whether a row holds an entry already. */
  private static boolean skips(RowCache cache, int slot, MemorySegment page, long row, long index) {
    if (cache.ahead(slot)) {
      if (index <= RowLayout.logIndex(page, row)) {
        return true;
      }
      cache.clearAhead(slot);
    }
    return false;
  }

  /** Puts rows of a checkpoint in the place of what there was. */
  Outcome put(long index, RowsPut put) {
    ParameterRecord table = parameters.get(put.table());
    if (table == null || !put.fits(table)) {
      return Outcome.INVALID;
    }
    long rowBytes = table.rowBytes();
    update(table, put.keys(), (cache, slot, i) -> putRow(index, put, cache, slot, i * rowBytes));
    return Outcome.APPLIED;
  }

  private static void putRow(long index, RowsPut put, RowCache cache, int slot, long from) {
    MemorySegment page = cache.page(slot);
    long row = cache.offset(slot);
    if (!skips(cache, slot, page, row, index)) {
      MemorySegment.copy(put.rows(), from, page, row, cache.rowBytes());
      RowLayout.setLogIndex(page, row, index);
      cache.markDirty(slot);
    }
  }

  /** Looks up on disk the rows that memory does not have. */
  private void look(ParameterRecord table, RowCache cache, int misses) {
    if (misses > 0 && cache.onDisk) {
      rowsFromDisk += misses;
      reads.read(table.id(), missed, misses, table.rowBytes());
    }
  }

  /** Fills a slot of the replicated state with what {@link #look} has found. */
  private void fillMissed(ParameterRecord table, RowCache cache, int slot, int m) {
    if (fill(table, cache, m, cache, slot)
        && RowLayout.logIndex(cache.page(slot), cache.offset(slot)) > state.index) {
      cache.markAhead(slot);
    }
  }

  /** Fills a slot with what {@link #look} has found, or else with what the row begins as. */
  private boolean fill(ParameterRecord table, RowCache cache, int m, RowCache target, int slot) {
    MemorySegment page = target.page(slot);
    long row = target.offset(slot);
    boolean found = cache.onDisk && reads.found(m);
    if (found) {
      MemorySegment.copy(reads.memory(), reads.offset(m), page, row, target.rowBytes());
    } else {
      update.initialize(table, missed[m], page, row);
    }
    return found;
  }

  /**
   * Reads rows, with what the overlay has of them.
   *
   * @param keys of the rows, from {@code from} up to {@code to}
   * @param codec of the answer
   * @param out takes the rows one after another, from {@code at} on
   * @param unseen takes the positions of rows that no push has reached, which are left out; null:
   *     they are read as their initializer says
   * @return the bytes written
   * @throws io.tensorhold.server.store.StoreException if one can't be read or is damaged
   */
  public long read(
      ParameterRecord table,
      long[] keys,
      int from,
      int to,
      Codec codec,
      MemorySegment out,
      long at,
      @Nullable IntConsumer unseen) {
    synchronized (lock) {
      RowReader reader = new RowReader(update, table, codec, out, at, unseen);
      for (int chunk = from; chunk < to; chunk += CHUNK) {
        read(reader, keys, chunk, Math.min(to, chunk + CHUNK), chunk - from);
      }
      return reader.finish(to - from);
    }
  }

  private void read(RowReader reader, long[] keys, int from, int to, int base) {
    ParameterRecord table = reader.table();
    RowCache cache = tier.of(table);
    RowCache[] layers = overlay.over(cache, table.id());
    find(layers[0], keys, from, to, RowLayout.HEADER_BYTES + table.rowWeightBytes());
    int misses = 0;
    for (int i = from; i < to; i++) {
      RowCache holder = layers[0];
      int slot = slots[i];
      for (int layer = 1; layer < layers.length && slot == RowCache.ABSENT; layer++) {
        holder = layers[layer];
        slot = holder.find(keys[i]);
      }
      if (slot == RowCache.ABSENT) {
        missed[misses] = keys[i];
        missedAt[misses++] = base + i - from;
      } else {
        holder.use(slot);
        reader.row(base + i - from, holder.page(slot), holder.offset(slot));
      }
    }
    look(table, cache, misses);
    for (int m = 0; m < misses; m++) {
      if (cache.onDisk && reads.found(m)) {
        reader.row(missedAt[m], reads.memory(), reads.offset(m));
        fillMissed(table, cache, tier.insert(cache, missed[m]), m);
      } else {
        reader.unwritten(missedAt[m], missed[m]);
      }
    }
  }

  /** A walk over the rows of a table that were written, by rising key; the caller closes it. */
  public RowScan scan(ParameterRecord table, long from) {
    synchronized (lock) {
      return new RowScan(this, table, from);
    }
  }

  /** Where rows are to be looked for, the newest first, before disk. */
  RowCache[] layers(ParameterRecord table) {
    return overlay.over(tier.of(table), table.id());
  }

  /** Keys of a layer's rows that disk may not have. */
  long[] unflushedKeys(ParameterRecord table, RowCache layer) {
    return layer.equals(tier.get(table.id())) ? layer.unflushedKeys() : layer.sortedKeys();
  }

  /** What the pushes to CHECKPOINTED models have made of rows beside the log. */
  public RowOverlay overlay() {
    return overlay;
  }

  /** Copies rows to the overlay that it does not have. */
  private void bring(ParameterRecord table, RowCache rows, long[] keys, int from, int to) {
    RowCache cache = tier.of(table);
    RowCache[] layers = overlay.over(cache, table.id());
    int misses = 0;
    for (int i = from; i < to; i++) {
      RowCache holder = cache;
      int slot = RowCache.ABSENT;
      for (int layer = 0; layer < layers.length && slot == RowCache.ABSENT; layer++) {
        holder = layers[layer];
        slot = holder.find(keys[i]);
      }
      if (slot == RowCache.ABSENT) {
        missed[misses++] = keys[i];
      } else if (holder != rows) {
        RowOverlay.copy(holder, slot, rows, RowOverlay.insert(rows, keys[i]));
      }
    }
    look(table, cache, misses);
    for (int m = 0; m < misses; m++) {
      fill(table, cache, m, rows, RowOverlay.insert(rows, missed[m]));
    }
  }

  void dropOverlay(long unlessTerm) {
    overlay.enter(unlessTerm);
  }

  void drop(long first, long last, List<ParameterRecord> gone) {
    overlay.drop(first, last);
    tier.drop(first, last);
    for (ParameterRecord parameter : gone) {
      if (parameter.table() != null) {
        deletions.add(parameter.id());
      }
    }
  }

  RowFlush beginFlush() {
    RowFlush flush = new RowFlush(lock, tier, deletions);
    deletions.clear();
    return flush;
  }

  void endFlush(RowFlush flush, boolean written) {
    flush.end(written);
    if (written) {
      tier.shrink();
    } else {
      deletions.addAll(flush.dropped());
    }
  }

  Pressure pressure() {
    return tier.pressure();
  }

  long bytes() {
    return tier.bytes() + overlay.bytes();
  }

  long unflushedBytes() {
    return tier.unflushedBytes();
  }

  /** Rows that were read or updated since the start. */
  public long rowsRead() {
    synchronized (lock) {
      return rowsRead;
    }
  }

  /** Of these, those that memory did not have, and disk was asked for. */
  public long rowsFromDisk() {
    synchronized (lock) {
      return rowsFromDisk;
    }
  }

  /** Bytes in memory of the tables that the filter takes, overlay included. */
  long bytes(LongPredicate filter) {
    return tier.all().entrySet().stream()
        .filter(table -> filter.test(table.getKey()))
        .mapToLong(table -> table.getValue().bytes())
        .sum();
  }

  /** Gives every row of a table of the replicated state. */
  void forEach(ParameterRecord table, RowScan.RowConsumer consumer) {
    RowScan.forEach(store, tier.of(table), table, consumer);
  }

  void close() {
    closed = true;
    tier.clear();
    overlay.clear();
    update.close();
    reads.close();
  }
}
