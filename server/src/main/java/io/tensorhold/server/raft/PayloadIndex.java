package io.tensorhold.server.raft;

import java.io.EOFException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.jspecify.annotations.Nullable;

/**
 * Where the payload of each log index is in a folder of segments; every file name is made here.
 *
 * <p>Of two records of one index the later one holds: the earlier one was truncated with its log
 * entry, or is the same. What the log does not refer to is never read, so that neither a torn last
 * record nor the truncated ones need a mark on disk.
 */
final class PayloadIndex {
  private static final Pattern SEGMENT = Pattern.compile("payload-([0-9a-f]{16})");
  private static final String SPARE = "spare-";

  /** Where a record is. */
  record Location(Path segment, long offset, PayloadRecord record) {
    long end() {
      return offset + record.length();
    }
  }

  private final Path folder;
  private final ConcurrentSkipListMap<Long, Location> records = new ConcurrentSkipListMap<>();

  /** Segments by epoch, each with the highest index it has; −1: none. */
  private final ConcurrentSkipListMap<Long, Long> segments = new ConcurrentSkipListMap<>();

  private PayloadIndex(Path folder) {
    this.folder = folder;
  }

  /** What a folder holds; one that does not exist holds nothing. */
  static PayloadIndex scan(Path folder) throws IOException {
    PayloadIndex index = new PayloadIndex(folder);
    for (Path file : list(folder)) {
      Matcher name = SEGMENT.matcher(String.valueOf(file.getFileName()));
      if (name.matches()) {
        index.segments.put(Long.parseUnsignedLong(name.group(1), 16), -1L);
      }
    }
    for (long epoch : index.segments.keySet()) {
      index.scan(epoch);
    }
    return index;
  }

  private static List<Path> list(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(folder)) {
      return files.sorted().toList();
    }
  }

  private void scan(long epoch) throws IOException {
    Path segment = segment(epoch);
    byte[] head = new byte[PayloadRecord.HEADER_BYTES];
    try (RandomAccessFile in = new RandomAccessFile(segment.toFile(), "r")) {
      long size = in.length();
      for (long at = 0; at + head.length <= size; ) {
        in.seek(at);
        in.readFully(head);
        PayloadRecord record = PayloadRecord.read(ByteBuffer.wrap(head));
        if (record == null || record.epoch() != epoch) {
          // Goes on, so that damage in the middle does not look like the end.
          at += PayloadRecord.PAGE_BYTES;
        } else {
          add(new Location(segment, at, record));
          at += record.length();
        }
      }
    }
  }

  Path segment(long epoch) {
    return folder.resolve("payload-%016x".formatted(epoch));
  }

  Path spare(long epoch) {
    return folder.resolve(SPARE + "%016x".formatted(epoch));
  }

  /** Files whose records are not needed any more. */
  List<Path> spares() throws IOException {
    return list(folder).stream()
        .filter(file -> String.valueOf(file.getFileName()).startsWith(SPARE))
        .toList();
  }

  /** Epoch that no segment has had. */
  long nextEpoch() {
    return segments.isEmpty() ? 1 : segments.lastKey() + 1;
  }

  void begin(long epoch) {
    segments.put(epoch, -1L);
  }

  /** Notes a record; it takes the place of an earlier one of its index. */
  void add(Location location) {
    PayloadRecord record = location.record();
    records.put(record.index(), location);
    segments.merge(record.epoch(), record.index(), Math::max);
  }

  /** Forgets all before an index; the segments that have nothing else, without the last. */
  List<Long> forget(long before) {
    records.headMap(before).clear();
    List<Long> forgotten =
        segments.headMap(nextEpoch() - 1).entrySet().stream()
            .filter(segment -> segment.getValue() < before)
            .map(Map.Entry::getKey)
            .toList();
    // An epoch is never given twice, so the highest stays even if it has nothing.
    forgotten.forEach(segments::remove);
    return forgotten;
  }

  /** The record of a log entry; null if there is none. */
  @Nullable Location find(long term, long index) {
    Location found = records.get(index);
    return found == null || found.record().term() != term ? null : found;
  }

  /** The last record before that of an index; null if there is none. */
  @Nullable Location before(long index) {
    Map.Entry<Long, Location> before = records.lowerEntry(index);
    return before == null ? null : before.getValue();
  }

  /**
   * Reads a payload.
   *
   * @throws IOException naming file and byte, if it is not there or not what the reference says
   */
  ByteString read(long term, long index, PayloadReference reference) throws IOException {
    Location at = find(term, index);
    if (at == null || !at.record().payload().equals(reference)) {
      Location before = before(index);
      throw new IOException(
          "the payload of log index %d is not %s"
              .formatted(
                  index,
                  before == null
                      ? "in " + folder
                      : "at byte %d of %s".formatted(before.end(), before.segment())));
    }
    byte[] payload = new byte[reference.bytes()];
    // Not a channel: an interrupted thread would close it under the others.
    try (RandomAccessFile in = new RandomAccessFile(at.segment().toFile(), "r")) {
      in.seek(at.offset() + PayloadRecord.HEADER_BYTES);
      in.readFully(payload);
    } catch (EOFException e) {
      throw damaged(at, "ends early");
    }
    CRC32C crc = new CRC32C();
    crc.update(payload);
    if ((int) crc.getValue() != reference.crc()) {
      throw damaged(at, "has CRC-32C %08x".formatted((int) crc.getValue()));
    }
    return UnsafeByteOperations.unsafeWrap(payload);
  }

  private static IOException damaged(Location at, String how) {
    return new IOException(
        "the record at byte %d of %s is damaged: its payload, log index %d, %s; expected %08x"
            .formatted(
                at.offset(), at.segment(), at.record().index(), how, at.record().payload().crc()));
  }
}
