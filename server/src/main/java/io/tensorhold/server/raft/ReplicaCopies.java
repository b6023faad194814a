package io.tensorhold.server.raft;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongSupplier;
import java.util.stream.Stream;
import org.apache.ratis.server.protocol.TermIndex;

/**
 * The copies of one replica that other servers fetch: folders of hard links, so that making one
 * costs milliseconds, and space only for files that the database drops in the meantime.
 *
 * <p>A copy is held by a lease that each read renews; while it is held, the log after it is kept,
 * so that who has fetched it can go on from there. There are {@value #LIMIT} at most.
 */
final class ReplicaCopies {
  /** More would pin more of the disk; a third asker is told to come again. */
  static final int LIMIT = 2;

  /** Long enough for a fetching server to be restarted and go on. */
  static final Duration LEASE = Duration.ofSeconds(60);

  /** Makes a copy of the replica as it is now in a folder that does not exist yet. */
  interface Maker {
    TermIndex copyTo(Path folder) throws IOException;
  }

  private static final class Held {
    final Path folder;
    final TermIndex at;
    volatile long touched;

    Held(Path folder, TermIndex at, long now) {
      this.folder = folder;
      this.at = at;
      this.touched = now;
    }

    String id() {
      return String.valueOf(folder.getFileName());
    }
  }

  private final Path directory;
  private final Maker maker;
  private final LongSupplier nanoTime;
  private final List<Held> copies = new ArrayList<>();

  ReplicaCopies(Path directory, Maker maker, LongSupplier nanoTime) {
    this.directory = directory;
    this.maker = maker;
    this.nanoTime = nanoTime;
  }

  /** Removes what an earlier process left. */
  synchronized void clear() throws IOException {
    copies.clear();
    FileTrees.delete(directory);
  }

  /**
   * A copy that holds the log up to an index: the one that the asker has a part of, else one made
   * now, so that little of the log is left to follow; else, with no room for more, the newest.
   *
   * @param begun the id of a copy that the asker has a part of, or ""
   * @throws Refusal UNAVAILABLE if the replica has not come that far, LIMIT if too many are held
   */
  synchronized ReplicaCopy open(long minIndex, String begun) throws IOException {
    expire();
    boolean full = copies.size() >= LIMIT;
    for (Held held : copies.reversed()) {
      if (held.at.getIndex() >= minIndex && (full || held.id().equals(begun))) {
        held.touched = nanoTime.getAsLong();
        return describe(held);
      }
    }
    if (full) {
      throw new Refusal(
          Reason.LIMIT,
          "copies of a replica: value=%d limit=%d; try again in %d s"
              .formatted(copies.size() + 1, LIMIT, LEASE.toSeconds()));
    }
    Files.createDirectories(directory);
    Path fresh = directory.resolve("new");
    FileTrees.delete(fresh);
    TermIndex at = maker.copyTo(fresh);
    if (at.getIndex() < minIndex) {
      FileTrees.delete(fresh);
      throw new Refusal(
          Reason.UNAVAILABLE,
          "this replica has come to index %d; index %d is asked for"
              .formatted(at.getIndex(), minIndex));
    }
    for (Held held : copies) {
      if (held.at.getIndex() == at.getIndex()) {
        FileTrees.delete(fresh);
        held.touched = nanoTime.getAsLong();
        return describe(held);
      }
    }
    Path folder = directory.resolve("at-" + at.getIndex());
    FileTrees.delete(folder);
    Files.move(fresh, folder);
    Held made = new Held(folder, at, nanoTime.getAsLong());
    copies.add(made);
    return describe(made);
  }

  private static ReplicaCopy describe(Held held) throws IOException {
    List<ReplicaCopy.File> files = new ArrayList<>();
    try (Stream<Path> listed = Files.list(held.folder)) {
      for (Path file : listed.sorted().toList()) {
        files.add(new ReplicaCopy.File(String.valueOf(file.getFileName()), Files.size(file)));
      }
    }
    return new ReplicaCopy(held.id(), held.at.getTerm(), held.at.getIndex(), files);
  }

  /**
   * Opens a file of a copy.
   *
   * @throws Refusal UNAVAILABLE if the copy is held no longer, REQUEST_INVALID if it has no such
   *     file
   */
  synchronized CopyReader read(String id, String name, long offset) throws IOException {
    for (Held held : copies) {
      if (held.id().equals(id)) {
        for (ReplicaCopy.File file : describe(held).files()) {
          if (file.name().equals(name) && offset >= 0 && offset <= file.bytes()) {
            return new CopyReader(
                held.folder.resolve(name), offset, () -> held.touched = nanoTime.getAsLong());
          }
        }
        throw new Refusal(
            Reason.REQUEST_INVALID, "copy %s has no byte %d of %s".formatted(id, offset, name));
      }
    }
    throw new Refusal(Reason.UNAVAILABLE, "the copy %s has gone: open another".formatted(id));
  }

  /** Lets copies go that nobody has read for a while. */
  synchronized void expire() throws IOException {
    long oldest = nanoTime.getAsLong() - LEASE.toNanos();
    List<Held> expired = copies.stream().filter(held -> held.touched - oldest < 0).toList();
    for (Held held : expired) {
      copies.remove(held);
      FileTrees.delete(held.folder);
    }
  }

  /** The log after this index is to be kept; {@link Long#MAX_VALUE} if no copy is held. */
  synchronized long heldIndex() {
    return copies.stream().mapToLong(held -> held.at.getIndex()).min().orElse(Long.MAX_VALUE);
  }
}
