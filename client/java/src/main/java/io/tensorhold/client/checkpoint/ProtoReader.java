package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * The protobuf wire format read field by field from a file that may be larger than memory. A field
 * is where it lies, not its content: what is not asked for is stepped over.
 *
 * <p>Every length is checked against the end of the message around it. There is no recursion here:
 * groups, the one construct that would need it to be stepped over, are refused (nothing since
 * proto2 writes them), so nesting in a file costs nothing. Not thread-safe: it has one window on
 * the file.
 */
final class ProtoReader {
  static final int VARINT = 0;
  static final int FIXED64 = 1;
  static final int LENGTH_DELIMITED = 2;
  static final int FIXED32 = 5;

  static final int MAX_STRING_BYTES = 1 << 20;
  private static final int MAX_VARINT_BYTES = 10;
  private static final long MAX_TAG = 0xffff_ffffL;

  private final OpenFile file;
  private final ByteBuffer window;
  private long windowStart;

  /** Where the last varint ended. */
  private long after;

  /**
   * One field.
   *
   * @param start where its tag begins in the file
   * @param lengthAt where its length begins, for a length-delimited field
   * @param valueStart where its value begins
   * @param end where its value ends and the next field begins
   * @param value the value of a varint
   */
  record Field(
      int number, int wireType, long start, long lengthAt, long valueStart, long end, long value) {
    long length() {
      return end - valueStart;
    }
  }

  ProtoReader(OpenFile file, int windowBytes) {
    this.file = file;
    this.window = ByteBuffer.allocate(windowBytes).limit(0);
  }

  Path path() {
    return file.path();
  }

  /**
   * The field that begins at {@code at}.
   *
   * @param end where the message around it ends
   * @param message its name, for errors
   */
  Field field(long at, long end, String message) throws IOException {
    long tag = varint(at, end, message);
    int number = (int) (tag >>> 3);
    int wireType = (int) (tag & 7);
    if (tag < 0 || tag > MAX_TAG || number == 0) {
      throw bad(message, at, "the tag " + Long.toUnsignedString(tag) + " is not one of protobuf");
    }
    long lengthAt = after;
    return switch (wireType) {
      case VARINT -> {
        long value = varint(lengthAt, end, message);
        yield new Field(number, wireType, at, lengthAt, lengthAt, after, value);
      }
      case LENGTH_DELIMITED -> {
        long length = varint(lengthAt, end, message);
        if (length < 0 || length > end - after) {
          String seen = Long.toUnsignedString(length) + " bytes, but " + (end - after);
          throw bad(message, at, "field " + number + " says it has " + seen + " are left");
        }
        yield new Field(number, wireType, at, lengthAt, after, after + length, 0);
      }
      case FIXED32, FIXED64 -> {
        int bytes = wireType == FIXED32 ? Integer.BYTES : Long.BYTES;
        if (bytes > end - lengthAt) {
          throw bad(message, at, "truncated in field " + number);
        }
        yield new Field(number, wireType, at, lengthAt, lengthAt, lengthAt + bytes, 0);
      }
      default -> {
        String seen = "field " + number + " has wire type " + wireType;
        throw bad(message, at, seen + "; 0, 1, 2 and 5 are allowed");
      }
    };
  }

  /** The varint that begins at {@code at}; {@link #after()} then tells where it ended. */
  long varint(long at, long end, String message) throws IOException {
    long value = 0;
    for (int i = 0; i < MAX_VARINT_BYTES; i++) {
      if (at + i >= end) {
        throw bad(message, at, "truncated: it ends at byte " + end + " within a number");
      }
      byte b = byteAt(at + i);
      value |= (long) (b & 0x7f) << (7 * i);
      if (b >= 0) {
        after = at + i + 1;
        return value;
      }
    }
    throw bad(message, at, "a number of more than " + MAX_VARINT_BYTES + " bytes");
  }

  long after() {
    return after;
  }

  /** The text of a length-delimited field, which must be UTF-8 of at most 1 MiB. */
  String string(Field field, String what) throws IOException {
    if (field.length() > MAX_STRING_BYTES) {
      throw bad(what, field.start(), field.length() + " bytes, the limit is " + MAX_STRING_BYTES);
    }
    ByteBuffer bytes = ByteBuffer.allocate((int) field.length());
    file.read(field.valueStart(), bytes);
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(bytes.flip()).toString();
    } catch (CharacterCodingException e) {
      throw new CheckpointException(path(), what + " is not valid UTF-8", e);
    }
  }

  /** Refuses a field of another wire type than its schema allows. */
  void require(Field field, int wireType, String what) throws CheckpointException {
    if (field.wireType() != wireType) {
      throw bad(what, field.start(), "wire type " + field.wireType() + ", expected " + wireType);
    }
  }

  CheckpointException bad(String message, long at, String problem) {
    return new CheckpointException(path(), message + " at byte " + at + ": " + problem);
  }

  private byte byteAt(long at) throws IOException {
    long index = at - windowStart;
    if (index < 0 || index >= window.limit()) {
      window.clear().limit((int) Math.min(window.capacity(), file.size() - at));
      windowStart = at;
      file.read(at, window);
      index = 0;
    }
    return window.get((int) index);
  }
}
