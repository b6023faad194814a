package io.tensorhold.server.shard;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;

/**
 * Whole rows of a checkpoint.
 *
 * @param keys rise strictly
 * @param rows as {@code RowLayout} draws them, one after another
 */
@SuppressWarnings("ArrayRecordComponent") // read in a loop, and never changed
public record RowsPut(long table, long[] keys, MemorySegment rows) {
  /** Bytes in the log. */
  long bytes() {
    return 8 + 4 + 8L * keys.length + rows.byteSize();
  }

  void write(ByteBuffer out) {
    out.putLong(table);
    RowsCommand.writeKeys(out, keys);
    MemorySegment.ofBuffer(out).copyFrom(rows);
  }

  static RowsPut read(ByteBuffer in) {
    long table = in.getLong();
    long[] keys = RowsCommand.readKeys(in);
    return new RowsPut(table, keys, MemorySegment.ofBuffer(in));
  }

  /** Whether it fits a table. */
  boolean fits(ParameterRecord table) {
    for (int i = 1; i < keys.length; i++) {
      if (keys[i] <= keys[i - 1]) {
        return false;
      }
    }
    return table.table() != null && rows.byteSize() == (long) keys.length * table.rowBytes();
  }
}
