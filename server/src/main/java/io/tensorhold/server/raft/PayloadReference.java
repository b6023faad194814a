package io.tensorhold.server.raft;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.jspecify.annotations.Nullable;

/**
 * What stands in Ratis's log in the place of an entry that is in the payload log. In the log: do
 * not change.
 *
 * <pre>
 * 0   u8    format 2 (an entry that stands there itself begins with 1)
 * 1   u32   bytes of the entry
 * 5   u32   CRC-32C of the entry
 * 9         zeros, a 256th of the bytes
 * </pre>
 *
 * All numbers are little-endian. Ratis cuts its log in whole segments of a fixed size; the zeros
 * make it begin one about every 64 MiB of entries, so that their payloads can go.
 */
record PayloadReference(int bytes, int crc) {
  private static final byte FORMAT = 2;
  private static final int HEADER_BYTES = 9;
  private static final int FILLER = 256;

  /** Entries that are shorter stand in Ratis's log: one write, not two. */
  static final int LEAST_BYTES = 4096;

  /** The reference to an entry. */
  static PayloadReference to(ByteString entry) {
    CRC32C crc = new CRC32C();
    for (ByteBuffer part : entry.asReadOnlyByteBufferList()) {
      crc.update(part);
    }
    return new PayloadReference(entry.size(), (int) crc.getValue());
  }

  ByteString toByteString() {
    ByteBuffer out = ByteBuffer.allocate(HEADER_BYTES + bytes / FILLER);
    out.order(ByteOrder.LITTLE_ENDIAN).put(FORMAT).putInt(bytes).putInt(crc).rewind();
    return UnsafeByteOperations.unsafeWrap(out);
  }

  /** The reference that log data is; null if it is an entry itself. */
  static @Nullable PayloadReference of(ByteString logData) {
    if (logData.size() < HEADER_BYTES || logData.byteAt(0) != FORMAT) {
      return null;
    }
    ByteBuffer in = logData.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
    return new PayloadReference(in.getInt(1), in.getInt(5));
  }
}
