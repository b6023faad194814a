package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.file.Path;

/**
 * A checkpoint file that is refused: its message names the file, what is wrong in it, the value
 * seen and the value allowed. Failures of the disk itself stay plain {@link IOException}s.
 */
public final class CheckpointException extends IOException {
  private static final long serialVersionUID = 1L;
  private static final int QUOTED_CHARS = 120;

  private final transient Path file;

  public CheckpointException(Path file, String problem) {
    super(file + ": " + problem);
    this.file = file;
  }

  public CheckpointException(Path file, String problem, Throwable cause) {
    super(file + ": " + problem, cause);
    this.file = file;
  }

  /** The file that was refused. */
  public Path file() {
    return file;
  }

  /**
   * Text from a file, safe to print: cut to 120 characters, control characters escaped, in quotes.
   * Names come from strangers; a terminal must not obey them.
   */
  public static String quote(String text) {
    StringBuilder out = new StringBuilder("\"");
    int shown = Math.min(text.length(), QUOTED_CHARS);
    for (int i = 0; i < shown; i++) {
      char c = text.charAt(i);
      if (Character.isISOControl(c) || Character.getType(c) == Character.FORMAT) {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    out.append('"');
    return text.length() > shown ? out + "… (" + text.length() + " characters)" : out.toString();
  }
}
