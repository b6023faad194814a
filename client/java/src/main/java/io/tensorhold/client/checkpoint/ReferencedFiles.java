package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The files that a checkpoint file names, each opened once and only if it lies in the same folder
 * or below it, links followed: a checkpoint from a stranger must not read anything else of the
 * machine.
 */
final class ReferencedFiles implements Closeable {
  static final int MAX_FILES = 4096;
  private static final int MAX_NAME_CHARS = 1024;

  private final Path owner;
  private final Path folder;
  private final Map<String, OpenFile> byName = new LinkedHashMap<>();

  /**
   * @param owner the file that names the others
   */
  ReferencedFiles(Path owner) throws IOException {
    this.owner = owner;
    Path parent = owner.toAbsolutePath().getParent();
    if (parent == null) {
      throw new CheckpointException(owner, "not in a folder");
    }
    this.folder = parent.toRealPath();
  }

  OpenFile open(String name) throws IOException {
    OpenFile known = byName.get(name);
    if (known != null) {
      return known;
    }
    if (byName.size() == MAX_FILES) {
      throw new CheckpointException(owner, "names more than " + MAX_FILES + " files");
    }
    OpenFile opened = OpenFile.open(resolve(name));
    byName.put(name, opened);
    return opened;
  }

  private Path resolve(String name) throws IOException {
    if (name.isEmpty() || name.length() > MAX_NAME_CHARS) {
      throw bad(name, "has " + name.length() + " characters, allowed are 1 to " + MAX_NAME_CHARS);
    }
    Path relative;
    try {
      relative = Path.of(name);
    } catch (InvalidPathException e) {
      throw bad(name, "is not a file name");
    }
    if (relative.isAbsolute() || name.startsWith("/") || name.indexOf('\\') >= 0) {
      throw bad(name, "must be relative, with '/' between folders");
    }
    for (Path part : relative) {
      if (part.toString().equals("..")) {
        throw bad(name, "must not contain '..'");
      }
    }
    Path file = folder.resolve(relative);
    if (!Files.exists(file)) {
      throw bad(name, "does not exist in " + folder);
    }
    Path real = file.toRealPath();
    if (!real.startsWith(folder)) {
      throw bad(name, "is a link that leaves " + folder);
    }
    return real;
  }

  private CheckpointException bad(String name, String problem) {
    return new CheckpointException(owner, "the file name " + quote(name) + " " + problem);
  }

  @Override
  public void close() throws IOException {
    OpenFiles.closeAll(byName.values());
  }
}
