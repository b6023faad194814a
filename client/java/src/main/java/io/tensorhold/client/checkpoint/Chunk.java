package io.tensorhold.client.checkpoint;

/** The bytes {@code [start, end)} of a file. */
record Chunk(long start, long end) {
  long length() {
    return end - start;
  }
}
