package io.tensorhold.client.checkpoint;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;

/** A pickle of protocol 2 being written: one dict whose keys are texts. */
final class PickleText {
  private static final int PROTOCOL = 2;

  private final ByteArrayOutputStream out = new ByteArrayOutputStream();

  PickleText() {
    op(0x80).op(PROTOCOL);
  }

  private PickleText op(int opcode) {
    out.write(opcode);
    return this;
  }

  private void littleEndian(long value, int bytes) {
    for (int i = 0; i < bytes; i++) {
      out.write((int) (value >>> (8 * i)));
    }
  }

  /** Begins the dict: keys and values follow. */
  PickleText dict() {
    return op('}').op('(');
  }

  /** Ends the dict. */
  PickleText endDict() {
    return op('u');
  }

  PickleText mark() {
    return op('(');
  }

  /** The values since the last mark as a tuple. */
  PickleText tuple() {
    return op('t');
  }

  PickleText emptyTuple() {
    return op(')');
  }

  /** Calls a name with a tuple. */
  PickleText call() {
    return op('R');
  }

  /** Makes a tuple an object that is not in the pickle. */
  PickleText persistent() {
    return op('Q');
  }

  /** False. */
  PickleText no() {
    return op(0x89);
  }

  PickleText number(long value) {
    if (value == (int) value) {
      op('J').littleEndian(value, Integer.BYTES);
    } else {
      op(0x8a).op(Long.BYTES).littleEndian(value, Long.BYTES);
    }
    return this;
  }

  PickleText text(String text) {
    byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
    op('X').littleEndian(utf8.length, Integer.BYTES);
    out.writeBytes(utf8);
    return this;
  }

  /** A name with its module: what is before the last dot. */
  PickleText global(String name) {
    int dot = name.lastIndexOf('.');
    String lines = name.substring(0, dot) + '\n' + name.substring(dot + 1) + '\n';
    op('c');
    out.writeBytes(lines.getBytes(StandardCharsets.US_ASCII));
    return this;
  }

  /** The whole pickle. */
  byte[] bytes() {
    op('.');
    return out.toByteArray();
  }
}
