package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The records of a zip archive as PyTorch writes it: entries that are stored as they are, under one
 * root folder, in a file that holds nothing else.
 *
 * <pre>
 * | local header, name, padding | bytes | … | central directory | zip64 end | end of directory |
 * </pre>
 *
 * Only the directory is read. A record's place is believed when its local header stands there, and
 * no two records share a byte.
 */
final class ZipRecords {
  static final int MAX_RECORDS = 250_000;
  private static final long MAX_DIRECTORY_BYTES = 64 << 20;
  private static final int MAX_NAME_BYTES = 1024;
  private static final long MAX_NAMES_BYTES = 16 << 20;

  private static final int LOCAL = 0x04034b50;
  private static final int CENTRAL = 0x02014b50;
  private static final int END = 0x06054b50;
  private static final int END64 = 0x06064b50;
  private static final int LOCATOR64 = 0x07064b50;
  private static final int LOCAL_BYTES = 30;
  private static final int CENTRAL_BYTES = 46;
  private static final int END_BYTES = 22;
  private static final int END64_BYTES = 56;
  private static final int LOCATOR64_BYTES = 20;
  private static final int ZIP64_FIELD = 1;
  private static final long FULL = 0xffff_ffffL;

  /** Sizes stand behind the bytes; names are UTF-8: all that PyTorch sets. */
  private static final int KNOWN_FLAGS = 0x0808;

  private final OpenFile file;
  private final Map<String, Entry> byName = new HashMap<>();
  private @Nullable String root;

  /** One record: its bytes in the file, and their CRC-32 as the directory has it. */
  record Entry(long headerStart, long start, long end, int crc) {
    long length() {
      return end - start;
    }
  }

  private record Directory(long start, long end, long entries) {}

  private ZipRecords(OpenFile file) {
    this.file = file;
  }

  static ZipRecords parse(OpenFile file) throws IOException {
    ZipRecords records = new ZipRecords(file);
    records.checkMagic();
    records.readAll(records.directory());
    records.checkApart();
    return records;
  }

  /** The record of a path below the root; null if there is none. */
  @Nullable Entry record(String path) {
    return byName.get(path);
  }

  int count() {
    return byName.size();
  }

  private void checkMagic() throws IOException {
    int shown = (int) Math.min(262, file.size());
    ByteBuffer head = bytes(0, shown);
    if (shown >= 4 && head.getInt(0) == LOCAL) {
      return;
    }
    if (shown >= 2 && (head.getShort(0) & 0xff) == 0x80) {
      throw bad(
          "a bare pickle, which is PyTorch's format of before 1.6: read it with torch.load and"
              + " save it again");
    }
    if (shown == 262 && head.get(257) == 'u' && head.get(258) == 's' && head.get(259) == 't') {
      throw bad(
          "a tar archive, which is PyTorch's first format: read it with torch.load and save it"
              + " again");
    }
    throw bad("does not begin as a zip archive (PK\\3\\4), as files of torch.save do");
  }

  private Directory directory() throws IOException {
    long endAt = file.size() - END_BYTES;
    if (endAt < 0) {
      throw bad("truncated: " + file.size() + " bytes, an empty zip archive has " + END_BYTES);
    }
    ByteBuffer end = bytes(endAt, END_BYTES);
    if (end.getInt(0) != END || end.getShort(20) != 0) {
      throw bad(
          "truncated, or bytes after the archive (a file of two formats?): its last "
              + END_BYTES
              + " bytes are not the end of a zip directory");
    }
    if (end.getShort(4) != 0 || end.getShort(6) != 0) {
      throw bad("one part of an archive of several parts");
    }
    long entries = end.getShort(10) & 0xffffL;
    long size = end.getInt(12) & FULL;
    long start = end.getInt(16) & FULL;
    long directoryEnd = endAt;
    ByteBuffer end64 = end64(endAt);
    if (end64 != null) {
      directoryEnd = end64.getLong(END64_BYTES);
      entries = agree("entries", entries, 0xffffL, end64.getLong(32));
      size = agree("directory bytes", size, FULL, end64.getLong(40));
      start = agree("directory start", start, FULL, end64.getLong(48));
    } else if (entries == 0xffffL || size == FULL || start == FULL) {
      throw bad("its zip directory refers to a zip64 record that is not there");
    }
    if (start < 0 || size < 0 || size != directoryEnd - start) {
      throw bad(
          "its zip directory [%d, +%d) does not end at byte %d, where the end record is"
              .formatted(start, size, directoryEnd));
    }
    if (entries < 0 || entries > MAX_RECORDS || size > MAX_DIRECTORY_BYTES) {
      throw bad(
          "its zip directory has %s records in %d bytes, the limit is %d records in %d bytes"
              .formatted(Long.toUnsignedString(entries), size, MAX_RECORDS, MAX_DIRECTORY_BYTES));
    }
    return new Directory(start, directoryEnd, entries);
  }

  /** The zip64 end record, with its own place appended; null if there is none. */
  private @Nullable ByteBuffer end64(long endAt) throws IOException {
    long locatorAt = endAt - LOCATOR64_BYTES;
    if (locatorAt < END64_BYTES) {
      return null;
    }
    ByteBuffer locator = bytes(locatorAt, LOCATOR64_BYTES);
    if (locator.getInt(0) != LOCATOR64) {
      return null;
    }
    long at = locator.getLong(8);
    if (at != locatorAt - END64_BYTES) {
      throw bad(
          "its zip64 end record is said to be at byte %s, expected %d"
              .formatted(Long.toUnsignedString(at), locatorAt - END64_BYTES));
    }
    ByteBuffer record = bytes(at, END64_BYTES + Long.BYTES);
    if (record.getInt(0) != END64 || record.getLong(4) != END64_BYTES - 12) {
      throw bad("there is no zip64 end record at byte " + at);
    }
    return record.putLong(END64_BYTES, at);
  }

  private long agree(String what, long narrow, long full, long wide) throws CheckpointException {
    if (narrow != full && narrow != wide) {
      throw bad(
          "its zip end records differ in %s: %d and %s"
              .formatted(what, narrow, Long.toUnsignedString(wide)));
    }
    return wide;
  }

  private void readAll(Directory directory) throws IOException {
    long at = directory.start();
    long allNames = 0;
    for (long i = 0; i < directory.entries(); i++) {
      if (directory.end() - at < CENTRAL_BYTES) {
        throw bad("its zip directory ends within record " + i + " of " + directory.entries());
      }
      ByteBuffer entry = bytes(at, CENTRAL_BYTES);
      int name = entry.getShort(28) & 0xffff;
      int extra = entry.getShort(30) & 0xffff;
      int comment = entry.getShort(32) & 0xffff;
      long next = at + CENTRAL_BYTES + name + extra + comment;
      if (entry.getInt(0) != CENTRAL || next > directory.end()) {
        throw bad("record " + i + " of its zip directory is damaged");
      }
      allNames += name;
      if (name > MAX_NAME_BYTES || allNames > MAX_NAMES_BYTES) {
        throw bad(
            "the name of record %d has %d bytes, the limit is %d, and %d for all names"
                .formatted(i, name, MAX_NAME_BYTES, MAX_NAMES_BYTES));
      }
      ByteBuffer rest = bytes(at + CENTRAL_BYTES, name + extra);
      byte[] nameBytes = new byte[name];
      rest.get(nameBytes);
      add(entry, nameBytes, rest, directory.start());
      at = next;
    }
    if (at != directory.end()) {
      throw bad("bytes after the last record of its zip directory");
    }
  }

  private void add(ByteBuffer entry, byte[] nameBytes, ByteBuffer extra, long dataEnd)
      throws IOException {
    String name = decode(nameBytes);
    if ((entry.getShort(8) & ~KNOWN_FLAGS) != 0) {
      throw bad("the record " + quote(name) + " is encrypted, or has flags that are not known");
    }
    if (entry.getShort(10) != 0) {
      throw bad(
          "the record %s is compressed (method %d): PyTorch stores records as they are"
              .formatted(quote(name), entry.getShort(10) & 0xffff));
    }
    long[] values = { // bytes, bytes as stored, where
      entry.getInt(24) & FULL, entry.getInt(20) & FULL, entry.getInt(42) & FULL
    };
    widen(name, extra, values);
    if (values[0] != values[1]) {
      throw bad(
          "the record %s has %d bytes, stored as %d, and is said not to be compressed"
              .formatted(quote(name), values[0], values[1]));
    }
    long start = dataStart(name, nameBytes, values[2], dataEnd);
    if (values[0] < 0 || values[0] > dataEnd - start) {
      throw bad(
          "the record %s of %s bytes at byte %d is past the end of the data at byte %d"
              .formatted(quote(name), Long.toUnsignedString(values[0]), start, dataEnd));
    }
    Entry record = new Entry(values[2], start, start + values[0], entry.getInt(16));
    int slash = name.indexOf('/');
    String folder = slash < 0 ? "" : name.substring(0, slash);
    if (slash <= 0 || (root != null && !root.equals(folder))) {
      throw bad(
          "the record %s is not in the folder of the others, %s"
              .formatted(quote(name), quote(root == null ? "" : root)));
    }
    root = folder;
    if (byName.put(name.substring(slash + 1), record) != null) {
      throw bad("two records are named " + quote(name));
    }
  }

  /** Takes from the zip64 field the values that do not fit 32 bits, in their order. */
  private void widen(String name, ByteBuffer rest, long[] values) throws CheckpointException {
    int at = rest.position();
    while (at + 4 <= rest.limit()) {
      int id = rest.getShort(at) & 0xffff;
      int end = at + 4 + (rest.getShort(at + 2) & 0xffff);
      if (end > rest.limit()) {
        break;
      }
      if (id == ZIP64_FIELD) {
        int field = at + 4;
        for (int i = 0; i < values.length; i++) {
          if (values[i] == FULL && field + Long.BYTES <= end) {
            values[i] = rest.getLong(field);
            field += Long.BYTES;
          }
        }
        return;
      }
      at = end;
    }
    for (long value : values) {
      if (value == FULL) {
        throw bad("the record " + quote(name) + " lacks its zip64 sizes");
      }
    }
  }

  /** Where a record's bytes begin, if its local header is at {@code at}. */
  private long dataStart(String name, byte[] nameBytes, long at, long dataEnd) throws IOException {
    int nameLength = nameBytes.length;
    if (at < 0 || at > dataEnd - LOCAL_BYTES - nameLength) {
      throw bad(
          "the record %s is said to be at byte %s, past the data's end at %d"
              .formatted(quote(name), Long.toUnsignedString(at), dataEnd));
    }
    ByteBuffer local = bytes(at, LOCAL_BYTES + nameLength);
    boolean same =
        local.getInt(0) == LOCAL
            && local.getShort(8) == 0
            && (local.getShort(26) & 0xffff) == nameLength;
    for (int i = 0; same && i < nameLength; i++) {
      same = local.get(LOCAL_BYTES + i) == nameBytes[i];
    }
    if (!same) {
      throw bad("there is no header of the record %s at byte %d".formatted(quote(name), at));
    }
    return at + LOCAL_BYTES + nameLength + (local.getShort(28) & 0xffff);
  }

  private String decode(byte[] bytes) throws CheckpointException {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw new CheckpointException(file.path(), "a record's name is not valid UTF-8", e);
    }
  }

  private void checkApart() throws CheckpointException {
    List<Map.Entry<String, Entry>> ordered = new ArrayList<>(byName.entrySet());
    ordered.sort(Comparator.comparingLong(e -> e.getValue().headerStart()));
    long end = 0;
    for (Map.Entry<String, Entry> entry : ordered) {
      if (entry.getValue().headerStart() < end) {
        throw bad("the record " + quote(entry.getKey()) + " overlaps the one before it");
      }
      end = entry.getValue().end();
    }
  }

  private ByteBuffer bytes(long at, int length) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
    file.read(at, buffer);
    return buffer.flip();
  }

  private CheckpointException bad(String problem) {
    return new CheckpointException(file.path(), problem);
  }
}
