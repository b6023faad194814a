package io.tensorhold.server.raft;

import io.tensorhold.server.base.Limits;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32C;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The end of the segment that Ratis was appending to when its process was killed.
 *
 * <p>Segments are filled with zeros ahead of the records, so a write that a kill cut short looks
 * like a whole record with a wrong checksum, and Ratis refuses the log. It was never acknowledged;
 * what tells it from damage is that nothing but zeros follows, from before its own end on. A record
 * that is there to its last byte and does not match its checksum is damage: it may have been
 * acknowledged, and a voter that forgot it could lose it for the cluster, so the server does not
 * start.
 *
 * <p>Layout of a segment (Ratis 3): the 8 bytes "RaftLog1", then records of varint n, n bytes,
 * CRC-32C of both, big-endian; a zero instead of n ends it.
 */
final class LogTail {
  private static final Logger log = LoggerFactory.getLogger(LogTail.class);
  private static final int HEADER_BYTES = 8;
  private static final int CRC_BYTES = 4;

  /** Longer than any record with an entry in it. */
  private static final int MAX_RECORD_BYTES = Limits.ENTRY_BYTES + (2 << 20);

  private LogTail() {}

  /**
   * Cuts a torn last record off a segment.
   *
   * @throws IOException if a record is damaged, and how to go on
   */
  static void cut(Path segment) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(segment));
    int written = written(bytes);
    for (int at = HEADER_BYTES; at < written; ) {
      int end = endOf(bytes, at);
      if (end - at > MAX_RECORD_BYTES) {
        throw damaged(segment, at);
      }
      if (end < 0 || end > bytes.limit()) {
        return; // Ratis itself cuts what ends with the file.
      }
      if (crc(bytes, at, end - CRC_BYTES) != bytes.getInt(end - CRC_BYTES)) {
        if (written >= end) {
          throw damaged(segment, at);
        }
        log.warn("{}: the record at byte {} was being written at a kill; it is cut", segment, at);
        try (FileChannel channel = FileChannel.open(segment, StandardOpenOption.WRITE)) {
          channel.truncate(at);
          channel.force(true);
        }
        return;
      }
      at = end;
    }
  }

  private static IOException damaged(Path segment, int at) {
    return new IOException(
        ("the log file %s is damaged at byte %d: restore it from a backup, or remove this"
                + " server from the cluster and let it join again with an empty data directory")
            .formatted(segment, at));
  }

  /** A whole record: its first byte, that of the entry in it, and that behind the record. */
  record Span(int at, int body, int end) {
    ByteBuffer body(ByteBuffer segment) {
      return segment.slice(body, end - CRC_BYTES - body);
    }
  }

  /** Whole records of a segment, up to the first that is torn. */
  static int records(Path segment) throws IOException {
    return recordsOf(ByteBuffer.wrap(Files.readAllBytes(segment))).size();
  }

  /** Whole records in the bytes of a segment, up to the first that is torn. */
  static List<Span> recordsOf(ByteBuffer bytes) {
    int written = written(bytes);
    List<Span> records = new ArrayList<>();
    for (int at = HEADER_BYTES; at < written; ) {
      int end = endOf(bytes, at);
      if (end < 0
          || end > bytes.limit()
          || crc(bytes, at, end - CRC_BYTES) != bytes.getInt(end - CRC_BYTES)) {
        break;
      }
      int body = at;
      while (bytes.get(body) < 0) {
        body++;
      }
      records.add(new Span(at, body + 1, end));
      at = end;
    }
    return records;
  }

  /** Where the zeros begin that fill the file to its end. */
  private static int written(ByteBuffer bytes) {
    int written = bytes.limit();
    while (written > 0 && bytes.get(written - 1) == 0) {
      written--;
    }
    return written;
  }

  /** End of the record at a position; past any file if its length makes no sense, −1 if cut. */
  private static int endOf(ByteBuffer bytes, int at) {
    long length = 0;
    for (int i = 0; i < 5 && at + i < bytes.limit(); i++) {
      byte next = bytes.get(at + i);
      length |= (long) (next & 0x7f) << (7 * i);
      if (next >= 0) {
        long end = at + i + 1 + length + CRC_BYTES;
        return (int) Math.min(end, Integer.MAX_VALUE);
      }
    }
    return at + 5 <= bytes.limit() ? Integer.MAX_VALUE : -1;
  }

  private static int crc(ByteBuffer bytes, int from, int to) {
    CRC32C crc = new CRC32C();
    crc.update(bytes.slice(from, to - from));
    return (int) crc.getValue();
  }
}
