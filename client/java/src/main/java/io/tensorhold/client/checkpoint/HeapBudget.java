package io.tensorhold.client.checkpoint;

import java.nio.file.Path;

/**
 * Memory that what a file describes may take while it is read: each object is charged, by an upper
 * estimate, before it is made.
 */
final class HeapBudget {
  static final long BYTES = 48 << 20;

  private final Path path;
  private long left = BYTES;

  HeapBudget(Path path) {
    this.path = path;
  }

  void take(long bytes) throws CheckpointException {
    left -= bytes;
    if (left < 0) {
      throw new CheckpointException(
          path,
          "what it describes, without the tensors' bytes, takes more than " + BYTES + " bytes");
    }
  }
}
