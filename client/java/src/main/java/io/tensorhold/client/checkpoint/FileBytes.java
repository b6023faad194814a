package io.tensorhold.client.checkpoint;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * A part of a file read from its first byte to its last, a window at a time; numbers are
 * little-endian. What reaches past the end is an {@link EOFException}, before memory was taken for
 * it.
 */
final class FileBytes {
  private static final int WINDOW_BYTES = 64 << 10;

  private final OpenFile file;
  private final long end;
  private final ByteBuffer window =
      ByteBuffer.allocate(WINDOW_BYTES).order(ByteOrder.LITTLE_ENDIAN).limit(0);
  private long next;

  FileBytes(OpenFile file, long start, long end) {
    this.file = file;
    this.end = end;
    this.next = start;
  }

  /** Where in the file the next byte is. */
  long position() {
    return next - window.remaining();
  }

  /** Bytes up to the end. */
  long left() {
    return end - position();
  }

  /** Has at least {@code count} bytes in the window. */
  private void need(int count) throws IOException {
    if (window.remaining() >= count) {
      return;
    }
    window.compact();
    int more = (int) Math.min(window.remaining(), end - next);
    window.limit(window.position() + more);
    file.read(next, window);
    next += more;
    window.flip();
    if (window.remaining() < count) {
      throw new EOFException();
    }
  }

  int u1() throws IOException {
    need(1);
    return window.get() & 0xff;
  }

  int u2() throws IOException {
    need(2);
    return window.getShort() & 0xffff;
  }

  int i4() throws IOException {
    need(4);
    return window.getInt();
  }

  long u4() throws IOException {
    return i4() & 0xffff_ffffL;
  }

  long i8() throws IOException {
    need(8);
    return window.getLong();
  }

  /** Passes bytes by; a negative count is one of more than 63 bits. */
  void skip(long count) throws IOException {
    if (count < 0 || count > left()) {
      throw new EOFException();
    }
    if (count <= window.remaining()) {
      window.position(window.position() + (int) count);
    } else {
      next += count - window.remaining();
      window.limit(0);
    }
  }

  /**
   * Text in UTF-8.
   *
   * @throws CharacterCodingException if it is not valid
   */
  String text(int length) throws IOException {
    if (length > left()) {
      throw new EOFException();
    }
    byte[] bytes = new byte[length];
    for (int done = 0; done < length; ) {
      need(1);
      int here = Math.min(length - done, window.remaining());
      window.get(bytes, done, here);
      done += here;
    }
    return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
  }
}
