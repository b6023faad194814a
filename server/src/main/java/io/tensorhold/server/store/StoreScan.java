package io.tensorhold.server.store;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.RowKey;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;

/**
 * A walk over all that a database holds as of one moment, in the order of the keys, while flushes
 * go on. Every value is read from disk and checked, so that damage is found where nobody reads.
 *
 * <p>Files that the database drops meanwhile stay on disk until the walk is closed.
 */
public final class StoreScan implements AutoCloseable {
  private static final int READ_AHEAD_BYTES = 2 << 20;

  /** Takes what a database holds. */
  public interface Visitor {
    /** Takes a block; the bytes are the visitor's. */
    void block(BlockKey key, MemorySegment block);

    /** Takes a table's row; the bytes are the visitor's. */
    void row(RowKey key, MemorySegment row);

    /** Takes the record of the shard's state. */
    void state(byte[] record);

    /** Takes a parameter's specification. */
    void parameter(byte[] record);
  }

  private final ShardStore store;
  private final ReadOptions options =
      new ReadOptions().setFillCache(false).setReadaheadSize(READ_AHEAD_BYTES);
  private final RocksIterator at;
  private boolean closed;

  StoreScan(ShardStore store, java.util.function.Function<ReadOptions, RocksIterator> open) {
    this.store = store;
    at = open.apply(options);
    at.seekToFirst();
  }

  /**
   * Gives the next value to the visitor.
   *
   * @return its bytes; −1 at the end
   * @throws StoreException if it can't be read or is damaged, or the database was closed
   */
  public synchronized long step(Visitor visitor) {
    if (closed) {
      throw new StoreException("the database was closed", null, false, false);
    }
    if (!at.isValid()) {
      try {
        at.status();
      } catch (RocksDBException e) {
        throw store.failure("can't read all of " + store, e);
      }
      return -1;
    }
    byte[] key = at.key();
    byte[] value = at.value();
    if (key[0] == StoreKeys.BLOCK) {
      MemorySegment block = MemorySegment.ofArray(value);
      String fault = BlockLayout.fault(block);
      if (fault != null) {
        throw store.damaged(StoreKeys.blockKey(key), fault);
      }
      visitor.block(StoreKeys.blockKey(key), block);
    } else if (key[0] == StoreKeys.ROW) {
      MemorySegment row = MemorySegment.ofArray(value);
      String fault = RowLayout.fault(row);
      if (fault != null) {
        throw store.damaged(StoreKeys.rowKey(key), fault);
      }
      visitor.row(StoreKeys.rowKey(key), row);
    } else if (Arrays.equals(key, StoreKeys.STATE)) {
      visitor.state(value);
    } else {
      visitor.parameter(value);
    }
    at.next();
    return value.length;
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      at.close();
      options.close();
      store.ended(this);
    }
  }
}
