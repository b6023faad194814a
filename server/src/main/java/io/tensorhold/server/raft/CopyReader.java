package io.tensorhold.server.raft;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/** Reads a file of a copy piece by piece, and knows its checksum at the end. */
public final class CopyReader implements AutoCloseable {
  private static final int PIECE_BYTES = 1 << 20;

  private final FileChannel channel;
  private final Runnable touched;
  private final CRC32C crc = new CRC32C();

  /**
   * A reader that stands at an offset; what comes before it is read for the checksum.
   *
   * @param touched is run at each piece, so that the copy is kept
   */
  CopyReader(Path file, long offset, Runnable touched) throws IOException {
    this.channel = FileChannel.open(file, StandardOpenOption.READ);
    this.touched = touched;
    try {
      checksum(channel, offset, crc);
    } catch (IOException e) {
      channel.close();
      throw e;
    }
  }

  /** Adds the first bytes of a file to a checksum; the channel stands behind them afterwards. */
  static void checksum(FileChannel channel, long bytes, CRC32C crc) throws IOException {
    ByteBuffer piece = ByteBuffer.allocate(PIECE_BYTES);
    for (long left = bytes; left > 0; left -= piece.limit()) {
      piece.clear().limit((int) Math.min(PIECE_BYTES, left));
      if (channel.read(piece) <= 0) {
        throw new IOException("the file ends %d bytes before byte %d".formatted(left, bytes));
      }
      crc.update(piece.flip());
    }
  }

  /** The next bytes, a MiB at most; null at the end of the file. */
  public @Nullable ByteBuffer next() throws IOException {
    touched.run();
    ByteBuffer piece = ByteBuffer.allocate(PIECE_BYTES);
    if (channel.read(piece) <= 0) {
      return null;
    }
    crc.update(piece.flip());
    return piece.rewind();
  }

  /** CRC-32C of all that was read. */
  public int crc() {
    return (int) crc.getValue();
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
