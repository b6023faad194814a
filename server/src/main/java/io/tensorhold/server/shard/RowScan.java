package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.base.RowKey;
import io.tensorhold.server.store.RowLayout;
import io.tensorhold.server.store.RowReads;
import io.tensorhold.server.store.ShardStore;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.stream.LongStream;
import java.util.stream.Stream;

/**
 * A walk over the rows of a table that were written, by rising key, a few at a time.
 *
 * <p>Rows that were there when it began are all in it: those on disk are met there, and of the
 * others, which a flush may bring to disk behind the walk's back, it has the keys. That is 8 bytes
 * for each row that is dirty, and dirty rows are bounded. Each row is as it is when its turn comes.
 * The walk brings nothing to memory and pushes nothing out.
 */
public final class RowScan implements AutoCloseable {
  private static final int MOST_BYTES = 4 << 20;

  private final ShardRows rows;
  private final ParameterRecord table;
  private final int rowBytes;
  private final int most;
  private final RowUpdate update = new RowUpdate(Kernels.best());
  private final long[] unflushed;
  private int nextUnflushed;
  private long from;
  private boolean ended;
  private final long[] storedKeys = new long[RowReads.MOST];
  private final MemorySegment[] storedRows = new MemorySegment[RowReads.MOST];
  private int stored;
  private final long[] keys = new long[RowReads.MOST];
  private final int[] storedAt = new int[RowReads.MOST];
  private final MemorySegment page;

  /** A walk from a key on; under the lock. */
  RowScan(ShardRows rows, ParameterRecord table, long from) {
    this.rows = rows;
    this.table = table;
    this.rowBytes = table.rowBytes();
    this.most = Math.clamp(MOST_BYTES / rowBytes, 1, RowReads.MOST);
    this.from = from;
    LongStream inMemory =
        Stream.of(rows.layers(table))
            .flatMapToLong(layer -> Arrays.stream(rows.unflushedKeys(table, layer)));
    this.unflushed = inMemory.filter(key -> key >= from).sorted().distinct().toArray();
    this.page = OffHeap.allocate((long) most * rowBytes);
  }

  /**
   * Goes on to the next rows.
   *
   * @return how many there are; 0: the walk is at its end
   * @throws Refusal UNAVAILABLE if another replica has taken this one's place
   * @throws io.tensorhold.server.store.StoreException if a row can't be read or is damaged
   */
  public int next() {
    int count = 0;
    while (count == 0 && !ended) {
      synchronized (rows.lock) {
        if (rows.closed) {
          throw new Refusal(Reason.UNAVAILABLE, "this server's replica was replaced: ask again");
        }
        stored = 0;
        rows.store.forEachRow(
            table.id(),
            from,
            (key, row) -> {
              storedKeys[stored] = key;
              storedRows[stored++] = row;
              return stored < most;
            });
        int candidates = merge();
        ended = candidates < most || keys[candidates - 1] == Long.MAX_VALUE;
        if (!ended) {
          from = keys[candidates - 1] + 1;
        }
        count = take(candidates);
      }
    }
    return count;
  }

  /** The next keys of those on disk and those in memory alone. */
  private int merge() {
    int count = 0;
    int onDisk = 0;
    while (count < most && (onDisk < stored || nextUnflushed < unflushed.length)) {
      boolean both = onDisk < stored && nextUnflushed < unflushed.length;
      boolean disk =
          nextUnflushed == unflushed.length
              || (both && storedKeys[onDisk] <= unflushed[nextUnflushed]);
      if (disk && both && storedKeys[onDisk] == unflushed[nextUnflushed]) {
        nextUnflushed++;
      }
      storedAt[count] = disk ? onDisk : -1;
      keys[count++] = disk ? storedKeys[onDisk++] : unflushed[nextUnflushed++];
    }
    return count;
  }

  /** Copies the rows of the candidates that there are, from where they are newest. */
  private int take(int candidates) {
    RowCache[] layers = rows.layers(table);
    long[] missed = new long[candidates];
    int misses = 0;
    for (int i = 0; i < candidates; i++) {
      if (storedAt[i] < 0 && !copy(layers, i, 0)) { // it went to disk since the walk began
        missed[misses++] = keys[i];
      }
    }
    if (misses > 0) {
      rows.reads.read(table.id(), missed, misses, rowBytes);
    }
    int miss = 0;
    int count = 0;
    for (int i = 0; i < candidates; i++) {
      long to = (long) count * rowBytes;
      boolean there = copy(layers, i, to);
      if (!there && storedAt[i] >= 0) {
        MemorySegment.copy(storedRows[storedAt[i]], 0, page, to, rowBytes);
        there = true;
      } else if (!there) {
        there = rows.reads.found(miss);
        if (there) {
          MemorySegment.copy(rows.reads.memory(), rows.reads.offset(miss), page, to, rowBytes);
        }
        miss++;
      }
      if (there) {
        keys[count++] = keys[i];
      }
    }
    return count;
  }

  private boolean copy(RowCache[] layers, int i, long to) {
    for (RowCache layer : layers) {
      int slot = layer.find(keys[i]);
      if (slot != RowCache.ABSENT) {
        MemorySegment.copy(layer.page(slot), layer.offset(slot), page, to, rowBytes);
        return true;
      }
    }
    return false;
  }

  /** Rows of one {@link #next} at most. */
  public int most() {
    return most;
  }

  /** Key of the i-th row of the last {@link #next}. */
  public long key(int i) {
    return keys[i];
  }

  /** Writes the weights of the i-th row of the last {@link #next} under a codec. */
  public void weights(int i, Codec codec, MemorySegment out, long at) {
    update.read(table, page, (long) i * rowBytes, codec, out, at);
  }

  /** Writes steps, weights and optimizer state of the i-th row of the last {@link #next}. */
  public void whole(int i, MemorySegment out, long at) {
    long row = (long) i * rowBytes;
    out.set(RowUpdate.STEPS, at, (int) RowLayout.step(page, row));
    long bytes = (long) rowBytes - RowLayout.HEADER_BYTES;
    MemorySegment.copy(
        page, row + RowLayout.HEADER_BYTES, out, at + RowUpdate.STEPS.byteSize(), bytes);
  }

  /** Adds the i-th row of the last {@link #next} to a summary. */
  public void sum(int i, RowSums sums) {
    sums.add(page, (long) i * rowBytes);
  }

  /** Bytes of {@link #whole}. */
  public static int wholeBytes(ParameterRecord table) {
    return Math.toIntExact(RowUpdate.wholeBytes(table));
  }

  /** Gives every row of a table of the replicated state. */
  static void forEach(
      ShardStore store, RowCache cache, ParameterRecord table, RowConsumer consumer) {
    for (long key : cache.sortedKeys()) {
      int slot = cache.find(key);
      consumer.accept(
          new RowKey(table.id(), key),
          cache.page(slot).asSlice(cache.offset(slot), cache.rowBytes()));
    }
    store.forEachRow(
        table.id(),
        (key, row) -> {
          if (cache.find(key) == RowCache.ABSENT) {
            consumer.accept(new RowKey(table.id(), key), row);
          }
          return true;
        });
  }

  /** Takes a row; its bytes are valid for the call. */
  interface RowConsumer {
    void accept(RowKey key, MemorySegment row);
  }

  @Override
  public void close() {
    OffHeap.free(page);
    update.close();
  }
}
