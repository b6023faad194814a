package io.tensorhold.wire;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.zip.CRC32C;

/** CRC-32C (Castagnoli, RFC 3720) of memory of any kind, piece by piece. */
public final class Crc32c {
  private static final int SCRATCH_BYTES = 16 << 10;

  private final CRC32C crc = new CRC32C();

  /** The checksum of one piece. */
  public static int of(MemorySegment memory) {
    return new Crc32c().update(memory).value();
  }

  /** Adds a piece. */
  public Crc32c update(MemorySegment memory) {
    if (memory.isNative() || memory.heapBase().orElse(null) instanceof byte[]) {
      crc.update(memory.asByteBuffer());
      return this;
    }
    byte[] scratch = new byte[SCRATCH_BYTES];
    for (long at = 0; at < memory.byteSize(); at += SCRATCH_BYTES) {
      int count = (int) Math.min(SCRATCH_BYTES, memory.byteSize() - at);
      MemorySegment.copy(memory, ValueLayout.JAVA_BYTE, at, scratch, 0, count);
      crc.update(scratch, 0, count);
    }
    return this;
  }

  /** The checksum of all pieces so far. */
  public int value() {
    return (int) crc.getValue();
  }
}
