package io.tensorhold.client.checkpoint;

import java.io.Closeable;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/** Closing several files so that one that fails to close leaves no other open. */
final class OpenFiles {
  private OpenFiles() {}

  static void closeAll(Iterable<? extends Closeable> files) throws IOException {
    @Nullable IOException failure = null;
    for (Closeable file : files) {
      try {
        file.close();
      } catch (IOException e) {
        if (failure == null) {
          failure = e;
        } else {
          failure.addSuppressed(e);
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
  }
}
