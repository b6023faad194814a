package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * The answer of a read of rows, row after row in the order asked. Rows may come in any order; those
 * that are left out leave gaps until {@link #finish}.
 */
final class RowReader {
  private final RowUpdate update;
  private final ParameterRecord table;
  private final Codec codec;
  private final MemorySegment out;
  private final long start;
  private final long bytes;
  private final @Nullable IntConsumer unseen;
  private int[] left = new int[0];
  private int leftCount;

  /**
   * An answer from {@code start} on.
   *
   * @param unseen takes the positions of rows that no push has reached, which are left out; null:
   *     they are what their initializer says
   */
  RowReader(
      RowUpdate update,
      ParameterRecord table,
      Codec codec,
      MemorySegment out,
      long start,
      @Nullable IntConsumer unseen) {
    this.update = update;
    this.table = table;
    this.codec = codec;
    this.out = out;
    this.start = start;
    this.bytes = RowUpdate.bytes(table, codec);
    this.unseen = unseen;
  }

  ParameterRecord table() {
    return table;
  }

  void row(int position, MemorySegment memory, long row) {
    update.read(table, memory, row, codec, out, start + position * bytes);
  }

  void unwritten(int position, long key) {
    if (unseen == null) {
      update.readInitial(table, key, codec, out, start + position * bytes);
      return;
    }
    if (leftCount == left.length) {
      left = Arrays.copyOf(left, Math.max(16, 2 * leftCount));
    }
    left[leftCount++] = position;
  }

  /** Closes the gaps among so many rows; gives the bytes that are left. */
  long finish(int count) {
    if (unseen == null || leftCount == 0) {
      return count * bytes;
    }
    Arrays.sort(left, 0, leftCount);
    long to = start;
    int gap = 0;
    for (int position = 0; position < count; position++) {
      if (gap < leftCount && left[gap] == position) {
        unseen.accept(position);
        gap++;
      } else {
        long row = start + position * bytes;
        if (to != row) {
          MemorySegment.copy(out, row, out, to, bytes);
        }
        to += bytes;
      }
    }
    return to - start;
  }
}
