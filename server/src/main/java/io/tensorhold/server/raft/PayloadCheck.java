package io.tensorhold.server.raft;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Holds a group's payloads against its log before Ratis starts.
 *
 * <p>Every entry that the database does not hold yet must have its payload. A process writes the
 * payload first, so one that is missing or damaged was taken by the disk or by a loss of power. If
 * it is among the last that were not brought to disk by the level of the log, the log ends before
 * it; else it may have been acknowledged as durable, and the server does not start.
 */
final class PayloadCheck {
  private static final Logger log = LoggerFactory.getLogger(PayloadCheck.class);

  private final Path groupFolder;
  private final Fsync fsync;

  /**
   * The check of a group.
   *
   * @param fsync the level, where no record tells the one under which it was written
   */
  PayloadCheck(Path groupFolder, Fsync fsync) {
    this.groupFolder = groupFolder;
    this.fsync = fsync;
  }

  /**
   * Checks the entries behind an index; cuts those at the end of the log that a loss of power took.
   *
   * @throws IOException if a payload is damaged, and how to go on
   */
  void run(long databaseIndex) throws IOException {
    PayloadIndex payloads = PayloadIndex.scan(groupFolder.resolve(ShardPayloads.FOLDER));
    List<LogEntries.Entry> entries = LogEntries.read(groupFolder.resolve("current"));
    LogEntries.Entry lost = null;
    String fault = null;
    for (LogEntries.Entry entry : entries) {
      PayloadReference reference = entry.reference();
      if (reference == null || entry.index() <= databaseIndex) {
        continue;
      }
      String here = fault(payloads, entry, reference);
      if (lost != null && here == null) {
        throw damaged(fault);
      }
      if (lost == null && here != null) {
        lost = entry;
        fault = here;
      }
    }
    if (lost == null) {
      return;
    }
    PayloadIndex.Location before = payloads.before(lost.index());
    if ((before == null ? fsync : before.record().fsync()) == Fsync.ALWAYS) {
      throw damaged(fault);
    }
    log.warn(
        "{}: the log ends before index {} now, and not after {}: raft.fsync did not promise that it"
            + " was on disk ({})",
        groupFolder,
        lost.index(),
        entries.getLast().index(),
        fault);
    LogEntries.cut(lost);
  }

  private static @Nullable String fault(
      PayloadIndex payloads, LogEntries.Entry entry, PayloadReference reference) {
    try {
      var _ = payloads.read(entry.term(), entry.index(), reference);
      return null;
    } catch (IOException e) {
      return e.getMessage();
    }
  }

  private static IOException damaged(@Nullable String fault) {
    return new IOException(
        fault
            + ": restore the data directory from a backup, or remove this server from the cluster"
            + " and let it join again with an empty one");
  }
}
