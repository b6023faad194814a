package io.tensorhold.client.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * One regular file held open for positioned reads, by any number of threads. Its size is taken
 * once; a file that shrinks later is an error of the read that finds it, never a crash as with a
 * mapping.
 */
final class OpenFile implements Closeable {
  /** A heap buffer is copied through native memory of its size; this bounds that copy. */
  private static final int READ_BYTES = 1 << 20;

  private final Path path;
  private final FileChannel channel;
  private final long size;

  private OpenFile(Path path, FileChannel channel, long size) {
    this.path = path;
    this.channel = channel;
    this.size = size;
  }

  static OpenFile open(Path path) throws IOException {
    if (!Files.exists(path)) {
      throw new CheckpointException(path, "no such file");
    }
    if (!Files.isRegularFile(path)) {
      // A pipe or a device would block the open or never end.
      throw new CheckpointException(path, "not a regular file");
    }
    try {
      FileChannel channel = FileChannel.open(path, StandardOpenOption.READ);
      return new OpenFile(path, channel, channel.size());
    } catch (NoSuchFileException e) {
      throw new CheckpointException(path, "no such file", e);
    }
  }

  Path path() {
    return path;
  }

  long size() {
    return size;
  }

  /** Fills {@code dst} from {@code position}. */
  void read(long position, ByteBuffer dst) throws IOException {
    int limit = dst.limit();
    long at = position;
    try {
      while (dst.position() < limit) {
        dst.limit(Math.min(limit, dst.position() + READ_BYTES));
        int n = channel.read(dst, at);
        if (n < 0) {
          throw new CheckpointException(
              path,
              "ended at byte " + at + " of " + size + ": it was changed while it was being read");
        }
        at += n;
      }
    } finally {
      dst.limit(limit);
    }
  }

  /** The bytes {@code [start, start + length)} as a stream; closing it closes nothing. */
  InputStream stream(long start, long length) {
    return new InputStream() {
      private long at = start;

      @Override
      public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
      }

      @Override
      public int read(byte[] b, int off, int len) throws IOException {
        int n = (int) Math.min(len, start + length - at);
        if (n <= 0) {
          return len == 0 ? 0 : -1;
        }
        OpenFile.this.read(at, ByteBuffer.wrap(b, off, n));
        at += n;
        return n;
      }
    };
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
