package io.tensorhold.server.raft;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.ratis.proto.RaftProtos.LogEntryProto;
import org.jspecify.annotations.Nullable;

/** The entries of a log of Ratis that is not running, read from its segments and cut there. */
final class LogEntries {
  /**
   * One entry.
   *
   * @param at byte of its segment
   * @param reference to its payload; null if it has none
   */
  record Entry(
      Path segment,
      long start,
      int at,
      long term,
      long index,
      @Nullable PayloadReference reference) {}

  private LogEntries() {}

  /** All whole entries in a folder of segments, by index. */
  static List<Entry> read(Path folder) throws IOException {
    List<Entry> entries = new ArrayList<>();
    for (Path segment : segments(folder)) {
      ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(segment));
      for (LogTail.Span record : LogTail.recordsOf(bytes)) {
        LogEntryProto entry = LogEntryProto.parseFrom(record.body(bytes));
        entries.add(
            new Entry(
                segment,
                LogFolders.startOf(segment),
                record.at(),
                entry.getTerm(),
                entry.getIndex(),
                entry.hasStateMachineLogEntry()
                    ? PayloadReference.of(entry.getStateMachineLogEntry().getLogData())
                    : null));
      }
    }
    return entries;
  }

  private static List<Path> segments(Path folder) throws IOException {
    return LogFolders.segments(folder).stream()
        .sorted(Comparator.comparingLong(LogFolders::startOf))
        .toList();
  }

  /** Ends a log before an entry. */
  static void cut(Entry first) throws IOException {
    Path folder = first.segment().toAbsolutePath().getParent();
    for (Path segment : segments(folder).reversed()) {
      if (LogFolders.startOf(segment) > first.start()) {
        Files.delete(segment);
      }
    }
    if (first.index() == first.start()) {
      Files.delete(first.segment());
    } else {
      try (FileChannel channel = FileChannel.open(first.segment(), StandardOpenOption.WRITE)) {
        channel.truncate(first.at());
        channel.force(true);
      }
      Files.move(first.segment(), folder.resolve("log_inprogress_" + first.start()));
    }
    FileTrees.force(folder);
  }
}
