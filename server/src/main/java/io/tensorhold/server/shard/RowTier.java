package io.tensorhold.server.shard;

import io.tensorhold.server.store.ShardStore;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The rows of all tables of a shard that are in memory, within one budget.
 *
 * <p>A table takes pages as long as there is budget, then evicts its own clean rows. One that has
 * less than half of an equal share takes a page from the largest. The budget is passed only while
 * dirty rows leave no room, and the shard's owner flushes before that; the pages go back when the
 * flush has ended.
 */
final class RowTier {
  private final long budget;
  private final ShardStore store;
  private final TreeMap<Long, RowCache> caches = new TreeMap<>(Long::compareUnsigned);

  RowTier(long budget, ShardStore store) {
    this.budget = budget;
    this.store = store;
  }

  /** The rows of a table. */
  RowCache of(ParameterRecord table) {
    RowCache cache = caches.get(table.id());
    if (cache == null) {
      boolean[] onDisk = {false};
      store.forEachRow(
          table.id(),
          (key, row) -> {
            onDisk[0] = true;
            return false;
          });
      cache = new RowCache(table.rowBytes(), budget);
      cache.onDisk = onDisk[0];
      caches.put(table.id(), cache);
    }
    return cache;
  }

  Map<Long, RowCache> all() {
    return caches;
  }

  @Nullable RowCache get(long table) {
    return caches.get(table);
  }

  /** A slot for a row that has none; other rows may leave for it. */
  int insert(RowCache cache, long key) {
    if (cache.full()) {
      makeRoom(cache);
    }
    return cache.insert(key);
  }

  private void makeRoom(RowCache cache) {
    if (bytes() + cache.pageBytes() <= budget) {
      cache.addPage();
      return;
    }
    RowCache largest = cache;
    for (RowCache other : caches.values()) {
      largest = other.bytes() > largest.bytes() ? other : largest;
    }
    boolean small = cache.bytes() + cache.pageBytes() < budget / caches.size() / 2;
    if (small && largest != cache) {
      while (bytes() + cache.pageBytes() > budget && largest.dropPage()) {
        // The largest gives until there is room.
      }
      if (bytes() + cache.pageBytes() <= budget) {
        cache.addPage();
        return;
      }
    }
    if (!cache.evict()) {
      cache.addPage();
    }
  }

  /** Gives back what is over the budget, as far as rows are clean. */
  void shrink() {
    List<RowCache> bySize = new ArrayList<>(caches.values());
    bySize.sort((a, b) -> Long.compare(b.bytes(), a.bytes()));
    for (RowCache cache : bySize) {
      while (bytes() > budget && cache.pages() > 1 && cache.dropPage()) {
        // Page by page.
      }
    }
  }

  long bytes() {
    long sum = 0;
    for (RowCache cache : caches.values()) {
      sum += cache.bytes();
    }
    return sum;
  }

  long unflushedBytes() {
    return caches.values().stream().mapToLong(RowCache::unflushedBytes).sum();
  }

  Pressure pressure() {
    long dirty = 0;
    long unflushed = 0;
    for (RowCache cache : caches.values()) {
      dirty += cache.dirtyBytes();
      unflushed += cache.unflushedBytes();
    }
    if (dirty > budget / 2 || unflushed > budget - budget / 4) {
      return Pressure.NOW;
    }
    return dirty > budget / 4 ? Pressure.SOON : Pressure.NONE;
  }

  /** Forgets tables, known to the log or only read so far. */
  void drop(long first, long last) {
    caches
        .entrySet()
        .removeIf(
            entry -> {
              boolean gone = DroppedParameters.between(first, entry.getKey(), last);
              if (gone) {
                entry.getValue().close();
              }
              return gone;
            });
  }

  void clear() {
    caches.values().forEach(RowCache::close);
    caches.clear();
  }
}
