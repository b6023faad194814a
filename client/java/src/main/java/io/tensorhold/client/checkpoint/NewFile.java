package io.tensorhold.client.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/**
 * A file being written under a temporary name beside its target, which it replaces whole or not at
 * all: {@link #commit} makes it durable and renames it; closing it without leaves no trace.
 */
final class NewFile implements Closeable {
  private static final int WRITE_BYTES = 1 << 20;

  private final Path target;
  private final Path temporary;
  private final FileChannel channel;

  private NewFile(Path target, Path temporary, FileChannel channel) {
    this.target = target;
    this.temporary = temporary;
    this.channel = channel;
  }

  static NewFile create(Path target) throws IOException {
    Path absolute = target.toAbsolutePath();
    Path folder = absolute.getParent();
    if (folder == null || Files.isDirectory(absolute)) {
      throw new CheckpointException(target, "is a folder; name the file to write");
    }
    if (!Files.isDirectory(folder)) {
      throw new CheckpointException(target, "there is no folder " + folder + " to write it in");
    }
    String suffix = Long.toHexString(ProcessHandle.current().pid()) + "-" + System.nanoTime();
    Path temporary = folder.resolve("." + absolute.getFileName() + "." + suffix + ".tmp");
    FileChannel channel =
        FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
    return new NewFile(absolute, temporary, channel);
  }

  /** Writes all that {@code data} has left at {@code position}. */
  void write(long position, ByteBuffer data) throws IOException {
    int limit = data.limit();
    long at = position;
    try {
      while (data.position() < limit) {
        data.limit(Math.min(limit, data.position() + WRITE_BYTES));
        at += channel.write(data, at);
      }
    } finally {
      data.limit(limit);
    }
  }

  /** What was written so far, to be read. */
  OpenFile reopen() throws IOException {
    return OpenFile.open(temporary);
  }

  /** Forces the bytes to disk, then the rename, so that a crash leaves the old file or the new. */
  void commit() throws IOException {
    channel.force(true);
    channel.close();
    Files.move(
        temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    try (FileChannel folder = FileChannel.open(target.resolveSibling("."))) {
      folder.force(true);
    } catch (IOException e) {
      // Not every system lets a folder be forced; the file itself is on disk and in place.
      return;
    }
  }

  @Override
  public void close() throws IOException {
    try {
      channel.close();
    } finally {
      Files.deleteIfExists(temporary);
    }
  }
}
