package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.zip.CRC32;

/**
 * A zip archive being written whose records are stored as they are, each from a multiple of 64
 * bytes on, as PyTorch has them. Records that are reserved are filled afterwards, each from its
 * first byte to its last.
 */
final class StoredZip implements AutoCloseable {
  private static final int ALIGNMENT = 64;
  private static final int LOCAL = 0x04034b50;
  private static final int CENTRAL = 0x02014b50;
  private static final int END = 0x06054b50;
  private static final int END64 = 0x06064b50;
  private static final int LOCATOR64 = 0x07064b50;
  private static final int LOCAL_BYTES = 30;
  private static final int CENTRAL_BYTES = 46;

  /** Version 4.5 of the format, which has zip64. */
  private static final int VERSION = 45;

  private static final int UTF_8 = 0x0800;
  private static final int ZIP64_FIELD = 1;
  private static final int PADDING_FIELD = 0x4246; // "FB", PyTorch's
  private static final long FULL = 0xffff_ffffL;

  private final NewFile file;
  private final String root;
  private final Map<String, Entry> records = new LinkedHashMap<>();
  private long end;

  private static final class Entry {
    final byte[] name;
    final long headerAt;
    final long start;
    final long bytes;
    final CRC32 crc = new CRC32();
    long written;

    Entry(byte[] name, long headerAt, long start, long bytes) {
      this.name = name;
      this.headerAt = headerAt;
      this.start = start;
      this.bytes = bytes;
    }

    boolean wide() {
      return bytes >= FULL;
    }
  }

  private StoredZip(NewFile file, String root) {
    this.file = file;
    this.root = root;
  }

  /**
   * @param root what all names begin with, such as "archive/"
   */
  static StoredZip create(Path target, String root) throws IOException {
    return new StoredZip(NewFile.create(target), root);
  }

  void add(String name, ByteBuffer content) throws IOException {
    reserve(name, content.remaining());
    write(name, 0, content);
  }

  /** Makes room for a record behind the last one. */
  void reserve(String name, long bytes) throws IOException {
    byte[] whole = (root + name).getBytes(StandardCharsets.UTF_8);
    int least = LOCAL_BYTES + whole.length + (bytes >= FULL ? 20 : 0) + 4;
    long start = Math.ceilDiv(end + least, (long) ALIGNMENT) * ALIGNMENT;
    Entry record = new Entry(whole, end, start, bytes);
    records.put(name, record);
    end = start + bytes;
    if (bytes == 0) {
      writeHeader(record);
    }
  }

  void write(String name, long offset, ByteBuffer data) throws IOException {
    Entry record = records.get(name);
    int length = data.remaining();
    if (record == null || offset != record.written || length > record.bytes - offset) {
      throw new IllegalArgumentException(
          "bytes [%d, +%d) of %s, of which %d of %d are written"
              .formatted(
                  offset,
                  length,
                  quote(name),
                  record == null ? 0 : record.written,
                  record == null ? 0 : record.bytes));
    }
    record.crc.update(data.duplicate());
    file.write(record.start + offset, data);
    record.written += length;
    if (record.written == record.bytes) {
      writeHeader(record);
    }
  }

  private static ByteBuffer buffer(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  private void writeHeader(Entry record) throws IOException {
    ByteBuffer header = buffer((int) (record.start - record.headerAt));
    int extra = header.capacity() - LOCAL_BYTES - record.name.length;
    header.putInt(LOCAL).putShort((short) VERSION).putShort((short) UTF_8);
    header.putShort((short) 0).putInt(0); // stored; no time
    putSizes(header, record).putShort((short) record.name.length).putShort((short) extra);
    header.put(record.name);
    if (record.wide()) {
      header.putShort((short) ZIP64_FIELD).putShort((short) 16);
      header.putLong(record.bytes).putLong(record.bytes);
    }
    header.putShort((short) PADDING_FIELD).putShort((short) (header.remaining() - 2));
    file.write(record.headerAt, header.rewind());
  }

  private static ByteBuffer putSizes(ByteBuffer target, Entry record) {
    int size = (int) Math.min(FULL, record.bytes);
    return target.putInt((int) record.crc.getValue()).putInt(size).putInt(size);
  }

  /** Writes the directory and puts the file in place. */
  void finish() throws IOException {
    long size = 0;
    for (Map.Entry<String, Entry> entry : records.entrySet()) {
      Entry record = entry.getValue();
      if (record.written < record.bytes) {
        throw new IllegalStateException(
            "byte %d of %s was not written".formatted(record.written, quote(entry.getKey())));
      }
      ByteBuffer central = central(record);
      int length = central.remaining();
      file.write(end + size, central);
      size += length;
    }
    ByteBuffer ends = buffer(56 + 20 + 22);
    long count = records.size();
    ends.putInt(END64).putLong(44).putShort((short) VERSION).putShort((short) VERSION);
    ends.putInt(0).putInt(0).putLong(count).putLong(count).putLong(size).putLong(end);
    ends.putInt(LOCATOR64).putInt(0).putLong(end + size).putInt(1);
    ends.putInt(END).putShort((short) 0).putShort((short) 0);
    short narrow = (short) Math.min(0xffff, count);
    ends.putShort(narrow).putShort(narrow);
    ends.putInt((int) Math.min(FULL, size)).putInt((int) Math.min(FULL, end)).putShort((short) 0);
    file.write(end + size, ends.flip());
    file.commit();
  }

  private static ByteBuffer central(Entry record) {
    boolean far = record.headerAt >= FULL;
    int wide = (record.wide() ? 16 : 0) + (far ? 8 : 0);
    int extra = wide == 0 ? 0 : 4 + wide;
    ByteBuffer entry = buffer(CENTRAL_BYTES + record.name.length + extra);
    entry.putInt(CENTRAL).putShort((short) VERSION).putShort((short) VERSION);
    entry.putShort((short) UTF_8).putShort((short) 0).putInt(0);
    putSizes(entry, record).putShort((short) record.name.length).putShort((short) extra);
    entry.putShort((short) 0).putShort((short) 0).putShort((short) 0).putInt(0);
    entry.putInt((int) Math.min(FULL, record.headerAt)).put(record.name);
    if (wide > 0) {
      entry.putShort((short) ZIP64_FIELD).putShort((short) wide);
      if (record.wide()) {
        entry.putLong(record.bytes).putLong(record.bytes);
      }
      if (far) {
        entry.putLong(record.headerAt);
      }
    }
    return entry.flip();
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
