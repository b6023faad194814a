package io.tensorhold.server.store;

import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.base.RowKey;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.rocksdb.ByteBufferGetStatus;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.Status;

/**
 * Point look-ups of rows, up to {@value #MOST} at a time, in memory that is used again and again.
 * Not thread-safe.
 */
public final class RowReads implements AutoCloseable {
  /** Rows of one look-up. */
  public static final int MOST = 256;

  private final ShardStore store;
  private final RocksDB database;
  private final ReadOptions options = new ReadOptions().setFillCache(false);
  private final ByteBuffer keys = ByteBuffer.allocateDirect(MOST * StoreKeys.ROW_BYTES);
  private final boolean[] found = new boolean[MOST];
  private MemorySegment memory = OffHeap.allocate(0);
  private int rowBytes;

  RowReads(ShardStore store, RocksDB database) {
    this.store = store;
    this.database = database;
  }

  /**
   * Looks up the first {@code count} keys of a table; see {@link #found} and {@link #offset}.
   *
   * @throws StoreException if a row can't be read, is damaged, or has other than so many bytes
   */
  public void read(long table, long[] ofRows, int count, int bytes) {
    rowBytes = bytes;
    long needed = (long) MOST * bytes;
    if (memory.byteSize() < needed) {
      OffHeap.free(memory);
      memory = OffHeap.allocate(needed);
    }
    List<ByteBuffer> asked = new ArrayList<>(count);
    List<ByteBuffer> values = new ArrayList<>(count);
    keys.clear();
    for (int i = 0; i < count; i++) {
      StoreKeys.putRow(keys, table, ofRows[i]);
      asked.add(keys.slice(i * StoreKeys.ROW_BYTES, StoreKeys.ROW_BYTES));
      values.add(memory.asSlice(offset(i), bytes).asByteBuffer());
    }
    try {
      List<ByteBufferGetStatus> answers = database.multiGetByteBuffers(options, asked, values);
      for (int i = 0; i < count; i++) {
        found[i] = found(table, ofRows[i], i, answers.get(i));
      }
    } catch (RocksDBException e) {
      throw store.failure("can't read rows of a table in " + store, e);
    }
  }

  private boolean found(long table, long key, int i, ByteBufferGetStatus answer)
      throws RocksDBException {
    Status.Code code = answer.status.getCode();
    if (code == Status.Code.NotFound) {
      return false;
    }
    if (code != Status.Code.Ok) {
      throw new RocksDBException(answer.status);
    }
    String fault =
        answer.requiredSize == rowBytes
            ? RowLayout.fault(memory.asSlice(offset(i), rowBytes))
            : "it has %d bytes instead of %d".formatted(answer.requiredSize, rowBytes);
    if (fault != null) {
      throw store.damaged(new RowKey(table, key), fault);
    }
    return true;
  }

  /** Whether there is a row of the i-th key. */
  public boolean found(int i) {
    return found[i];
  }

  /** Where the rows lie, valid until the next look-up. */
  public MemorySegment memory() {
    return memory;
  }

  /** Where the i-th row lies there. */
  public long offset(int i) {
    return (long) i * rowBytes;
  }

  @Override
  public void close() {
    OffHeap.free(memory);
    options.close();
  }
}
