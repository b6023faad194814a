package io.tensorhold.server.shard;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.store.ShardStore;
import java.util.ArrayList;
import java.util.NavigableMap;
import java.util.NavigableSet;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The state of a shard at one index, on its way to disk.
 *
 * <p>Its blocks belong to the flush until it has ended: an update in the meantime goes to a copy.
 * Its rows go on: see {@link RowFlush}.
 */
@SuppressWarnings("ArrayRecordComponent") // bytes on their way to disk, never changed
public record Flush(
    ShardStore store,
    NavigableMap<BlockKey, Unit> blocks,
    NavigableSet<BlockKey> deletions,
    byte[] state,
    NavigableMap<Long, byte @Nullable []> parameters,
    RowFlush rows,
    long term,
    long index) {

  /**
   * Writes it, on any thread, while the machine goes on.
   *
   * @throws io.tensorhold.server.store.StoreException if the disk fails; disk is as before
   */
  public void run() {
    TreeMap<BlockKey, ShardStore.Write> writes = new TreeMap<>();
    for (BlockKey key : deletions) {
      writes.put(key, new ShardStore.Write(key, null));
    }
    blocks.forEach((key, unit) -> writes.put(key, new ShardStore.Write(key, unit.memory())));
    store.deleteRows(rows.dropped());
    store.flush(writes.values().iterator(), state, new ArrayList<>(parameters.entrySet()), rows);
  }
}
