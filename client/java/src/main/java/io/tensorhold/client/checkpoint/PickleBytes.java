package io.tensorhold.client.checkpoint;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** The bytes of a pickle, a window at a time: numbers are little-endian, but for floats. */
final class PickleBytes {
  private static final int WINDOW_BYTES = 64 << 10;
  private static final int MAX_LINE_BYTES = 256;

  private final OpenFile file;
  private final ZipRecords.Entry record;
  private final ByteBuffer window =
      ByteBuffer.allocate(WINDOW_BYTES).order(ByteOrder.LITTLE_ENDIAN).limit(0);
  private long next;

  PickleBytes(OpenFile file, ZipRecords.Entry record) {
    this.file = file;
    this.record = record;
    this.next = record.start();
  }

  CheckpointException bad(String problem) {
    long at = next - window.remaining() - record.start();
    return new CheckpointException(file.path(), "data.pkl, byte " + at + ": " + problem);
  }

  boolean atEnd() {
    return !window.hasRemaining() && next == record.end();
  }

  /** Has at least {@code count} bytes in the window. */
  private void need(int count) throws IOException {
    if (window.remaining() >= count) {
      return;
    }
    window.compact();
    int more = (int) Math.min(window.remaining(), record.end() - next);
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

  double f8() throws IOException {
    need(8);
    return Double.longBitsToDouble(Long.reverseBytes(window.getLong()));
  }

  /** LONG1: a length of at most 8, then a number in two's complement. */
  long long1() throws IOException {
    int length = u1();
    if (length > Long.BYTES) {
      throw bad("has a number of " + length + " bytes, the limit is " + Long.BYTES);
    }
    long value = 0;
    for (int i = 0; i < length; i++) {
      value |= (long) u1() << (8 * i);
    }
    int spare = Long.SIZE - 8 * length;
    return length == 0 ? 0 : value << spare >> spare;
  }

  /** Characters up to the end of a line, which is taken too. */
  String line() throws IOException {
    StringBuilder line = new StringBuilder();
    for (int c = u1(); c != '\n'; c = u1()) {
      if (line.length() == MAX_LINE_BYTES) {
        throw bad("mentions a name of more than " + MAX_LINE_BYTES + " bytes");
      }
      line.append((char) c);
    }
    return line.toString();
  }

  String text(int length) throws IOException {
    if (length > record.end() - next + window.remaining()) {
      throw new EOFException();
    }
    byte[] bytes = new byte[length];
    for (int done = 0; done < length; ) {
      need(1);
      int here = Math.min(length - done, window.remaining());
      window.get(bytes, done, here);
      done += here;
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw bad("has a text that is not valid UTF-8");
    }
  }
}
