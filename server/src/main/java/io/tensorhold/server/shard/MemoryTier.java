package io.tensorhold.server.shard;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.store.BlockLayout;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * The blocks of a shard that are in memory, within a budget.
 *
 * <p>A block is clean, the same as on disk, or dirty. Clean blocks leave in the order of their last
 * use when room is needed; dirty ones stay until a flush has written them. So the budget is passed
 * only while dirty blocks and blocks that readers hold leave no room, and the shard's owner flushes
 * before that: see {@link ShardMachine#pressure}.
 */
final class MemoryTier {
  private final LongSupplier budgetNow;
  private final LinkedHashMap<BlockKey, Unit> clean = new LinkedHashMap<>(16, 0.75f, true);
  private Map<BlockKey, Unit> dirty = new HashMap<>();
  private @Nullable Map<BlockKey, Unit> flushing;
  private final Set<BlockKey> goneWhileFlushing = new HashSet<>();
  private long cleanBytes;
  private long dirtyBytes;
  private long flushingBytes;

  /** A tier whose budget may change: what is over it goes when the next block comes. */
  MemoryTier(LongSupplier budgetNow) {
    this.budgetNow = budgetNow;
  }

  @Nullable Unit get(BlockKey key) {
    Unit unit = dirty.get(key);
    if (unit == null && isFlushing(key)) {
      unit = flushing.get(key);
    }
    return unit != null ? unit : clean.get(key);
  }

  /** Takes a block that was read from disk, if there is room for it. */
  boolean addClean(BlockKey key, Unit unit) {
    makeRoom(unit.bytes());
    if (bytes() + unit.bytes() > budget()) {
      return false;
    }
    clean.put(key, unit);
    cleanBytes += unit.bytes();
    return true;
  }

  /** Takes a block that no disk holds yet. */
  void addDirty(BlockKey key, Unit unit) {
    makeRoom(unit.bytes());
    dirty.put(key, unit);
    dirtyBytes += unit.bytes();
  }

  /** The block for writing: dirty from now on, and seen by the tier alone. */
  @Nullable Unit writable(BlockKey key) {
    Unit unit = dirty.get(key);
    if (unit != null) {
      if (unit.shared()) {
        Unit copy = unit.copy();
        dirty.put(key, copy);
        unit.release();
        return copy;
      }
      return unit;
    }
    if (isFlushing(key)) {
      Unit copy = flushing.get(key).copy();
      addDirty(key, copy);
      return copy;
    }
    unit = clean.remove(key);
    if (unit == null) {
      return null;
    }
    cleanBytes -= unit.bytes();
    if (unit.shared()) {
      Unit copy = unit.copy();
      unit.release();
      unit = copy;
    }
    addDirty(key, unit);
    return unit;
  }

  /** Replaces or adds a block whole; the tier owns it from now on. */
  void put(BlockKey key, Unit unit) {
    remove(key);
    addDirty(key, unit);
  }

  /** Forgets a block; one that a flush is writing is freed when the flush has ended. */
  void remove(BlockKey key) {
    if (isFlushing(key)) {
      goneWhileFlushing.add(key);
    }
    Unit unit = dirty.remove(key);
    if (unit != null) {
      dirtyBytes -= unit.bytes();
      unit.release();
    }
    unit = clean.remove(key);
    if (unit != null) {
      cleanBytes -= unit.bytes();
      unit.release();
    }
  }

  /** Forgets blocks; gives those that a flush is writing, and that disk will hold. */
  void removeIf(Predicate<BlockKey> filter, Consumer<BlockKey> beingFlushed) {
    List<BlockKey> gone = new ArrayList<>();
    forEachInMemory(
        (key, unit) -> {
          if (filter.test(key)) {
            gone.add(key);
          }
        });
    for (BlockKey key : gone) {
      if (isFlushing(key)) {
        beingFlushed.accept(key);
      }
      remove(key);
    }
  }

  /** Moves all dirty blocks into a flush; they stay readable. */
  NavigableMap<BlockKey, Unit> beginFlush() {
    if (flushing != null) {
      throw new IllegalStateException("a flush of this shard is under way");
    }
    flushing = dirty;
    flushingBytes = dirtyBytes;
    dirty = new HashMap<>();
    dirtyBytes = 0;
    return new TreeMap<>(flushing);
  }

  /** Ends a flush: what it wrote is clean, or dirty again if the disk failed. */
  void endFlush(boolean written) {
    Map<BlockKey, Unit> ended = flushing;
    if (ended == null) {
      throw new IllegalStateException("no flush of this shard is under way");
    }
    flushing = null;
    flushingBytes = 0;
    for (Map.Entry<BlockKey, Unit> entry : ended.entrySet()) {
      Unit unit = entry.getValue();
      if (dirty.containsKey(entry.getKey()) || goneWhileFlushing.contains(entry.getKey())) {
        unit.release();
      } else if (written) {
        clean.put(entry.getKey(), unit);
        cleanBytes += unit.bytes();
      } else {
        dirty.put(entry.getKey(), unit);
        dirtyBytes += unit.bytes();
      }
    }
    goneWhileFlushing.clear();
    makeRoom(0);
  }

  boolean isFlushing(BlockKey key) {
    return flushing != null && flushing.containsKey(key) && !goneWhileFlushing.contains(key);
  }

  void forEachInMemory(java.util.function.BiConsumer<BlockKey, Unit> consumer) {
    dirty.forEach(consumer);
    if (flushing != null) {
      flushing.forEach(
          (key, unit) -> {
            if (!dirty.containsKey(key) && isFlushing(key)) {
              consumer.accept(key, unit);
            }
          });
    }
    clean.forEach(consumer);
  }

  private void makeRoom(long bytes) {
    Iterator<Unit> eldest = clean.values().iterator();
    long budget = budget();
    while (bytes() + bytes > budget && eldest.hasNext()) {
      Unit unit = eldest.next();
      if (!unit.shared()) {
        eldest.remove();
        cleanBytes -= unit.bytes();
        unit.release();
      }
    }
  }

  long bytes() {
    return cleanBytes + dirtyBytes + flushingBytes;
  }

  long dirtyBytes() {
    return dirtyBytes;
  }

  long unflushedBytes() {
    return dirtyBytes + flushingBytes;
  }

  long budget() {
    return budgetNow.getAsLong();
  }

  void clear() {
    forEachInMemory((key, unit) -> unit.release());
    goneWhileFlushing.clear();
    clean.clear();
    dirty.clear();
    flushing = null;
    cleanBytes = dirtyBytes = flushingBytes = 0;
  }

  static long weightBytes(Unit unit) {
    return BlockLayout.weightBytes(unit.memory());
  }

  /** How urgently dirty blocks want to be flushed. */
  Pressure pressure() {
    long budget = budget();
    if (dirtyBytes() > budget / 2 || unflushedBytes() > budget - budget / 4) {
      return Pressure.NOW;
    }
    return dirtyBytes() > budget / 4 ? Pressure.SOON : Pressure.NONE;
  }
}
