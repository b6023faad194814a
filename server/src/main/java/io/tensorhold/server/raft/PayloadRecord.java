package io.tensorhold.server.raft;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/**
 * The head of a record of the payload log. On disk: do not change.
 *
 * <pre>
 * 0   u32   32504854: the bytes "THP2"
 * 4   u32   CRC-32C of bytes 8–63
 * 8   u64   epoch of the segment: a recycled file has records of an earlier one behind its last
 * 16  u64   term of the log entry
 * 24  u64   index of the log entry
 * 32  u32   n: bytes of the payload
 * 36  u32   CRC-32C of the payload
 * 40  u8    fsync in force: 0 always, 1 interval, 2 never
 * 41        zeros
 * 64  n     payload
 *           zeros, up to a multiple of 4096
 * </pre>
 *
 * All numbers are little-endian. Records begin at multiples of 4096, so that writing one never
 * makes the operating system read a page first.
 */
record PayloadRecord(long epoch, long term, long index, PayloadReference payload, Fsync fsync) {
  static final int HEADER_BYTES = 64;
  static final int PAGE_BYTES = 4096;
  private static final int MAGIC = 0x32504854;
  private static final int CHECKED_FROM = 8;

  /** Bytes of the whole record. */
  int length() {
    return Math.ceilDiv(HEADER_BYTES + payload.bytes(), PAGE_BYTES) * PAGE_BYTES;
  }

  /** Puts the head at the position of a buffer. */
  void write(ByteBuffer out) {
    ByteBuffer head = out.slice(out.position(), HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    head.putInt(MAGIC).putInt(0).putLong(epoch).putLong(term).putLong(index);
    head.putInt(payload.bytes()).putInt(payload.crc()).put((byte) fsync.id);
    while (head.hasRemaining()) {
      head.put((byte) 0);
    }
    head.putInt(4, crc(head));
    out.position(out.position() + HEADER_BYTES);
  }

  /** The head at the beginning of a buffer; null if there is none. */
  static @Nullable PayloadRecord read(ByteBuffer bytes) {
    if (bytes.remaining() < HEADER_BYTES) {
      return null;
    }
    ByteBuffer head = bytes.slice(bytes.position(), HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    if (head.getInt(0) != MAGIC || head.getInt(4) != crc(head)) {
      return null;
    }
    Fsync level = Fsync.ofId(head.get(40));
    if (level == null || head.getInt(32) < 0) {
      return null;
    }
    return new PayloadRecord(
        head.getLong(8),
        head.getLong(16),
        head.getLong(24),
        new PayloadReference(head.getInt(32), head.getInt(36)),
        level);
  }

  private static int crc(ByteBuffer head) {
    CRC32C crc = new CRC32C();
    crc.update(head.slice(CHECKED_FROM, HEADER_BYTES - CHECKED_FROM));
    return (int) crc.getValue();
  }
}
