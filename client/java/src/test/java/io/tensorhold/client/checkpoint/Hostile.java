package io.tensorhold.client.checkpoint;

/** A file and parts of the message that refuses it. */
final class Hostile {
  private final byte[] file;
  private final String[] message;

  Hostile(byte[] file, String... message) {
    this.file = file;
    this.message = message;
  }

  byte[] file() {
    return file;
  }

  String[] message() {
    return message;
  }
}
