package io.tensorhold.server.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/**
 * The bytes of a table's row, the same in memory, in RocksDB and in the log. On disk: do not
 * change.
 *
 * <pre>
 * offset
 *  0  u64  index of the log entry that last updated the row (page LSN)
 *  8  u32  optimizer steps that the row has made
 * 12  u32  CRC-32C of the bytes 0 to 11 and 16 to the end; written when the row goes to disk
 * 16  W    weights, encoded
 * 16+W  S  optimizer state, as in a block of one row
 * </pre>
 *
 * W and S follow from the table's record and are the same for all its rows. All numbers are
 * little-endian. Rows lie one after another in larger memory: methods take a row's offset there.
 */
public final class RowLayout {
  /** Bytes before the weights. */
  public static final int HEADER_BYTES = 16;

  private static final int CRC_OFFSET = 12;
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private RowLayout() {}

  /** Bytes of a row with so many bytes of weights and of state. */
  public static long bytes(long weightBytes, long stateBytes) {
    return HEADER_BYTES + weightBytes + stateBytes;
  }

  /** Makes the header that of a row that nothing has updated. */
  public static void clear(MemorySegment memory, long row) {
    memory.set(LONG, row, 0);
    memory.set(LONG, row + 8, 0);
  }

  /** Index of the log entry that last updated the row. */
  public static long logIndex(MemorySegment memory, long row) {
    return memory.get(LONG, row);
  }

  /** Sets {@link #logIndex}. */
  public static void setLogIndex(MemorySegment memory, long row, long index) {
    memory.set(LONG, row, index);
  }

  /** Optimizer steps that the row has made. */
  public static long step(MemorySegment memory, long row) {
    return Integer.toUnsignedLong(memory.get(INT, row + 8));
  }

  /** Sets {@link #step}; at 2³² − 1 it stays. */
  public static void setStep(MemorySegment memory, long row, long step) {
    memory.set(INT, row + 8, (int) Math.min(step, 0xffff_ffffL));
  }

  /** Writes the checksum of a row that is the whole segment. */
  public static void seal(MemorySegment row) {
    row.set(INT, CRC_OFFSET, checksum(row));
  }

  /** What is wrong with a row that is the whole segment; null if nothing is. */
  public static @Nullable String fault(MemorySegment row) {
    if (row.byteSize() < HEADER_BYTES) {
      return "it has %d bytes; its header alone has %d".formatted(row.byteSize(), HEADER_BYTES);
    }
    int stored = row.get(INT, CRC_OFFSET);
    int computed = checksum(row);
    return stored == computed
        ? null
        : "CRC-32C: stored=%08x computed=%08x".formatted(stored, computed);
  }

  private static int checksum(MemorySegment row) {
    CRC32C crc = new CRC32C();
    crc.update(row.asSlice(0, CRC_OFFSET).asByteBuffer());
    crc.update(row.asSlice(HEADER_BYTES).asByteBuffer());
    return (int) crc.getValue();
  }
}
