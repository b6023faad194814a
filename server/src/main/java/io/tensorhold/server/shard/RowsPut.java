package io.tensorhold.server.shard;

import java.lang.foreign.MemorySegment;

/**
 * Whole rows of a checkpoint.
 *
 * @param keys rise strictly
 * @param rows as {@code RowLayout} draws them, one after another
 */
@SuppressWarnings("ArrayRecordComponent") // read in a loop, and never changed
public record RowsPut(long table, long[] keys, MemorySegment rows) {
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
