package io.tensorhold.server.raft;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.apache.ratis.protocol.RaftGroupId;

/**
 * Ratis's folders of logs, one for each group, named by the group's UUID.
 *
 * <p>The folder of a group whose database is damaged is held back under a name that Ratis does not
 * take for a group's: the log and the votes in it are good, and are needed again once the database
 * is mended. The name also tells the next process, if this one is killed before.
 */
record LogFolders(Path directory) {
  private static final String HELD = ".damaged";
  private static final Pattern SEGMENT = Pattern.compile("log_(?:inprogress_)?(\\d+)(?:-(\\d+))?");

  private Path of(RaftGroupId group) {
    return directory.resolve(group.getUuid().toString());
  }

  private Path heldOf(RaftGroupId group) {
    return directory.resolve(group.getUuid() + HELD);
  }

  boolean exists(RaftGroupId group) {
    return Files.isDirectory(of(group));
  }

  boolean held(RaftGroupId group) {
    return Files.isDirectory(heldOf(group));
  }

  /** Hides a group's folder from Ratis; the group is not running. */
  void hold(RaftGroupId group) throws IOException {
    Files.move(of(group), heldOf(group));
    FileTrees.force(directory);
  }

  /** Shows a held folder to Ratis again. */
  void release(RaftGroupId group) throws IOException {
    Files.move(heldOf(group), of(group));
    FileTrees.force(directory);
  }

  /** Cuts what a kill left half-written at the ends of the logs. */
  void cutTornTails() throws IOException {
    if (!Files.isDirectory(directory)) {
      return;
    }
    try (Stream<Path> groups = Files.list(directory)) {
      for (Path group : groups.map(folder -> folder.resolve("current")).toList()) {
        if (Files.isDirectory(group)) {
          try (Stream<Path> files = Files.list(group)) {
            for (Path file : files.filter(LogFolders::open).toList()) {
              LogTail.cut(file);
            }
          }
        }
      }
    }
  }

  private static boolean open(Path file) {
    return String.valueOf(file.getFileName()).startsWith("log_inprogress_");
  }

  /**
   * Deletes the segments of a log, held or not, that ends before an index up to which the database
   * holds everything: Ratis would append what follows the index right behind the last segment, and
   * refuse the gap. The votes stay.
   */
  void dropCovered(RaftGroupId group, long index) throws IOException {
    Path segments = folder(group).resolve("current");
    List<Path> files = segments(segments);
    long last = -1;
    for (Path file : files) {
      last = Math.max(last, lastIndex(file));
    }
    if (last < index) {
      for (Path file : files) {
        Files.delete(file);
      }
      FileTrees.force(segments);
    }
  }

  /** Last index in a segment: closed ones are named for it, of an open one it is counted. */
  private static long lastIndex(Path segment) throws IOException {
    Matcher name = name(segment);
    return name.group(2) != null
        ? Long.parseLong(name.group(2))
        : Long.parseLong(name.group(1)) + LogTail.records(segment) - 1;
  }

  /** A group's folder, held or not. */
  Path folder(RaftGroupId group) {
    return held(group) ? heldOf(group) : of(group);
  }

  /** First index in a group's log, held or not; 0 if there is no log. */
  long firstIndex(RaftGroupId group) throws IOException {
    return firstIndex(folder(group).resolve("current"));
  }

  /** First index in a folder of segments; 0 if there are none. */
  static long firstIndex(Path folder) throws IOException {
    return segments(folder).stream().mapToLong(LogFolders::startOf).min().orElse(0);
  }

  /** The segments in a folder, in no order. */
  static List<Path> segments(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> all = Files.list(folder)) {
      return all.filter(f -> SEGMENT.matcher(String.valueOf(f.getFileName())).matches()).toList();
    }
  }

  /** First index in a segment. */
  static long startOf(Path segment) {
    return Long.parseLong(name(segment).group(1));
  }

  private static Matcher name(Path segment) {
    Matcher name = SEGMENT.matcher(String.valueOf(segment.getFileName()));
    if (!name.matches()) {
      throw new IllegalArgumentException("not a segment: " + segment);
    }
    return name;
  }
}
