package io.tensorhold.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Locale;

/**
 * The limit that a log is held against: blocks of 1 MiB appended to a file by one thread, with an
 * fsync after each (always), once a second (interval), or with none (never). Prints GB/s.
 */
public final class PlainAppend {
  private static final int BLOCK_BYTES = 1 << 20;

  /** The file begins anew here, so that the disk does not fill. */
  private static final long FILE_BYTES = 1L << 30;

  private PlainAppend() {}

  /** Arguments: file, fsync, seconds. */
  public static void main(String[] args) throws IOException {
    Path file = Path.of(args[0]);
    double seconds = Double.parseDouble(args[2]);
    append(file, args[1], Math.min(seconds, 1));
    long started = System.nanoTime();
    long bytes = append(file, args[1], seconds);
    System.out.printf(
        Locale.ROOT,
        "plain-append-gbs %.3f%n",
        bytes / 1e9 / ((System.nanoTime() - started) / 1e9));
    Files.delete(file);
  }

  private static long append(Path file, String fsync, double seconds) throws IOException {
    ByteBuffer block = ByteBuffer.allocateDirect(BLOCK_BYTES);
    for (int i = 0; i < BLOCK_BYTES; i += 4) {
      block.putFloat(i, 0.5f + i);
    }
    long started = System.nanoTime();
    long forced = started;
    long bytes = 0;
    while ((System.nanoTime() - started) / 1e9 < seconds) {
      Files.deleteIfExists(file);
      try (FileChannel channel =
          FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
        for (long at = 0;
            at < FILE_BYTES && (System.nanoTime() - started) / 1e9 < seconds;
            at += BLOCK_BYTES) {
          block.clear();
          while (block.hasRemaining()) {
            channel.write(block);
          }
          bytes += BLOCK_BYTES;
          if (fsync.equals("always")
              || (fsync.equals("interval") && System.nanoTime() - forced > 1_000_000_000L)) {
            channel.force(false);
            forced = System.nanoTime();
          }
        }
      }
    }
    return bytes;
  }
}
