package io.tensorhold.server.store;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.RowKey;
import java.nio.ByteBuffer;

/**
 * The keys of a shard's database, sorted by the default (bytewise) comparator. On disk: do not
 * change.
 *
 * <pre>
 * 'B'  u64 parameter  u32 block  u64 version   a block (BlockLayout); version 0 is the live head,
 *                                              sealed versions follow as their complement, newest first
 * 'M'  u8 kind                                 state of the shard: kind 1 = {@link #STATE}
 * 'P'  u64 parameter                           a parameter's specification
 * 'R'  u64 table  u64 key                      a table's row (RowLayout); the key's sign bit is
 *                                              flipped, so that rows lie in the order of signed keys
 * </pre>
 *
 * Numbers are big-endian.
 */
final class StoreKeys {
  static final int BLOCK_BYTES = 21;
  static final byte BLOCK = 'B';
  static final int ROW_BYTES = 17;
  static final byte ROW = 'R';
  static final byte[] STATE = {'M', 1};
  static final byte[] PARAMETERS_FROM = {'P'};
  static final byte[] PARAMETERS_TO = {'P' + 1};

  private StoreKeys() {}

  static byte[] block(BlockKey key) {
    return ByteBuffer.allocate(BLOCK_BYTES)
        .put(BLOCK)
        .putLong(key.parameter())
        .putInt(key.block())
        .putLong(0)
        .array();
  }

  static BlockKey blockKey(byte[] key) {
    ByteBuffer bytes = ByteBuffer.wrap(key, 1, BLOCK_BYTES - 1);
    return new BlockKey(bytes.getLong(), bytes.getInt());
  }

  static byte[] firstBlock(long parameter) {
    return ByteBuffer.allocate(9).put(BLOCK).putLong(parameter).array();
  }

  static byte[] parameter(long parameter) {
    return ByteBuffer.allocate(9).put((byte) 'P').putLong(parameter).array();
  }

  static long parameterId(byte[] key) {
    return ByteBuffer.wrap(key, 1, 8).getLong();
  }

  /** Puts a row's key at the buffer's position. */
  static void putRow(ByteBuffer target, long table, long key) {
    target.put(ROW).putLong(table).putLong(key ^ Long.MIN_VALUE);
  }

  static byte[] row(long table, long key) {
    ByteBuffer bytes = ByteBuffer.allocate(ROW_BYTES);
    putRow(bytes, table, key);
    return bytes.array();
  }

  static RowKey rowKey(byte[] key) {
    ByteBuffer bytes = ByteBuffer.wrap(key, 1, ROW_BYTES - 1);
    return new RowKey(bytes.getLong(), bytes.getLong() ^ Long.MIN_VALUE);
  }

  /** The first key past the rows of a table. */
  static byte[] rowsEnd(long table) {
    return table == -1 ? new byte[] {ROW + 1} : firstRow(table + 1);
  }

  static byte[] firstRow(long table) {
    return ByteBuffer.allocate(9).put(ROW).putLong(table).array();
  }
}
