package io.tensorhold.server.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;

/**
 * The bytes of a stored block, the same in memory, in RocksDB and in the log. On disk: do not
 * change.
 *
 * <pre>
 * offset
 *  0  u8   format: 1
 *  1  u8   codec id
 *  2  u16  zero
 *  4  u32  elements
 *  8  u64  index of the log entry that last updated the block (page LSN)
 * 16  u64  optimizer steps that the block has made
 * 24  u32  W: bytes of the weights
 * 28  u32  S: bytes of the optimizer state
 * 32  u32  CRC-32C of the bytes 0 to 31 and 40 to the end; written when the block goes to disk
 * 36  u32  zero
 * 40  W    weights, encoded
 * 40+W  S  optimizer state: f32, slot after slot, each one value per element
 * </pre>
 *
 * All numbers are little-endian.
 */
public final class BlockLayout {
  /** Bytes before the weights. */
  public static final int HEADER_BYTES = 40;

  /** The format that this class reads and writes. */
  public static final int FORMAT = 1;

  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private BlockLayout() {}

  /** Bytes of a block with so many bytes of weights and of state. */
  public static long bytes(long weightBytes, long stateBytes) {
    return HEADER_BYTES + weightBytes + stateBytes;
  }

  /** Makes {@code memory} a block of zeros that no push has reached. */
  public static void clear(
      MemorySegment memory, int codec, int elements, long weightBytes, long stateBytes) {
    memory.fill((byte) 0);
    memory.set(ValueLayout.JAVA_BYTE, 0, (byte) FORMAT);
    memory.set(ValueLayout.JAVA_BYTE, 1, (byte) codec);
    memory.set(INT, 4, elements);
    memory.set(INT, 24, (int) weightBytes);
    memory.set(INT, 28, (int) stateBytes);
  }

  /** The codec's persistent number. */
  public static int codec(MemorySegment memory) {
    return memory.get(ValueLayout.JAVA_BYTE, 1);
  }

  /** Elements of the block. */
  public static int elements(MemorySegment memory) {
    return memory.get(INT, 4);
  }

  /** Index of the log entry that last updated the block; 0: none has. */
  public static long logIndex(MemorySegment memory) {
    return memory.get(LONG, 8);
  }

  /** Sets {@link #logIndex}. */
  public static void setLogIndex(MemorySegment memory, long index) {
    memory.set(LONG, 8, index);
  }

  /** Optimizer steps that the block has made. */
  public static long step(MemorySegment memory) {
    return memory.get(LONG, 16);
  }

  /** Sets {@link #step}. */
  public static void setStep(MemorySegment memory, long step) {
    memory.set(LONG, 16, step);
  }

  /** Bytes of the weights. */
  public static int weightBytes(MemorySegment memory) {
    return memory.get(INT, 24);
  }

  /** Bytes of the optimizer state. */
  public static int stateBytes(MemorySegment memory) {
    return memory.get(INT, 28);
  }

  /** The weights alone. */
  public static MemorySegment weights(MemorySegment memory) {
    return memory.asSlice(HEADER_BYTES, weightBytes(memory));
  }

  /** Offset of the optimizer state. */
  public static long stateOffset(MemorySegment memory) {
    return HEADER_BYTES + Integer.toUnsignedLong(weightBytes(memory));
  }

  /** Writes the checksum; the block must not change until it is on disk. */
  public static void seal(MemorySegment memory) {
    memory.set(INT, 32, checksum(memory));
  }

  /**
   * What is wrong with the bytes of a block that come from disk or from the log; null if nothing
   * is.
   */
  public static @org.jspecify.annotations.Nullable String fault(MemorySegment memory) {
    if (memory.byteSize() < HEADER_BYTES) {
      return "a block has %d bytes; its header alone has %d"
          .formatted(memory.byteSize(), HEADER_BYTES);
    }
    int format = memory.get(ValueLayout.JAVA_BYTE, 0);
    if (format != FORMAT) {
      return "block format: value=%d known=%d; a newer Tensorhold wrote it"
          .formatted(format, FORMAT);
    }
    long bytes =
        bytes(
            Integer.toUnsignedLong(weightBytes(memory)),
            Integer.toUnsignedLong(stateBytes(memory)));
    if (bytes != memory.byteSize()) {
      return "a block's header says %d bytes, but it has %d".formatted(bytes, memory.byteSize());
    }
    int stored = memory.get(INT, 32);
    int computed = checksum(memory);
    return stored == computed
        ? null
        : "CRC-32C of a block: stored=%08x computed=%08x".formatted(stored, computed);
  }

  private static int checksum(MemorySegment memory) {
    CRC32C crc = new CRC32C();
    crc.update(memory.asSlice(0, 32).asByteBuffer());
    crc.update(memory.asSlice(HEADER_BYTES).asByteBuffer());
    return (int) crc.getValue();
  }
}
