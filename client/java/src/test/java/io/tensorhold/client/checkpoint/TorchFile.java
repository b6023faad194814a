package io.tensorhold.client.checkpoint;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32;

/** A file of torch.save made by hand, so that it can be wrong in exactly one way. */
final class TorchFile {
  /** One record of the archive; what is said of it need not be true. */
  static final class Entry {
    final byte[] name;
    byte[] localName;
    final byte[] content;
    int method;
    int flags;
    int crc;
    long saidBytes;
    long saidStored;
    long saidAt = -1;
    int at;

    Entry(String name, byte[] content) {
      this.name = name.getBytes(StandardCharsets.UTF_8);
      this.localName = this.name;
      this.content = content;
      CRC32 sum = new CRC32();
      sum.update(content);
      this.crc = (int) sum.getValue();
      this.saidBytes = content.length;
      this.saidStored = content.length;
    }
  }

  final List<Entry> entries = new ArrayList<>();

  /** An archive of the root "a" with this pickle. */
  static TorchFile of(Pickle pickle) {
    return new TorchFile()
        .add("a/data.pkl", pickle.bytes())
        .add("a/version", "3\n".getBytes(StandardCharsets.UTF_8));
  }

  /** One with a storage "0" of so many bytes besides. */
  static TorchFile of(Pickle pickle, int storageBytes) {
    return of(pickle).add("a/data/0", new byte[storageBytes]);
  }

  TorchFile add(String name, byte[] content) {
    entries.add(new Entry(name, content));
    return this;
  }

  Entry entry(String name) {
    byte[] wanted = name.getBytes(StandardCharsets.UTF_8);
    return entries.stream()
        .filter(e -> java.util.Arrays.equals(e.name, wanted))
        .findFirst()
        .orElseThrow();
  }

  byte[] bytes() {
    return bytes(0, 0);
  }

  /** The file, with the number of entries and the place of the directory off by so much. */
  byte[] bytes(int moreEntries, int startOff) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (Entry e : entries) {
      e.at = out.size();
      byte[] header = new byte[30 + e.localName.length];
      ByteBuffer local = buffer(header);
      local.putInt(0x04034b50).putShort((short) 20).putShort((short) e.flags);
      local.putShort((short) e.method).putInt(0).putInt(e.crc);
      local.putInt((int) e.saidStored).putInt((int) e.saidBytes);
      local.putShort((short) e.localName.length).putShort((short) 0).put(e.localName);
      out.writeBytes(header);
      out.writeBytes(e.content);
    }
    int start = out.size();
    for (Entry e : entries) {
      byte[] entry = new byte[46 + e.name.length];
      ByteBuffer central = buffer(entry);
      central.putInt(0x02014b50).putInt(20 << 16 | 20).putShort((short) e.flags);
      central.putShort((short) e.method).putInt(0).putInt(e.crc);
      central.putInt((int) e.saidStored).putInt((int) e.saidBytes);
      central.putShort((short) e.name.length).putShort((short) 0).putShort((short) 0);
      central.putInt(0).putInt(0).putInt((int) (e.saidAt < 0 ? e.at : e.saidAt)).put(e.name);
      out.writeBytes(entry);
    }
    byte[] ends = new byte[22];
    ByteBuffer end = buffer(ends);
    short count = (short) (entries.size() + moreEntries);
    end.putInt(0x06054b50).putInt(0).putShort(count).putShort(count);
    end.putInt(out.size() - start).putInt(start + startOff).putShort((short) 0);
    out.writeBytes(ends);
    return out.toByteArray();
  }

  private static ByteBuffer buffer(byte[] bytes) {
    return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** A pickle written opcode by opcode. */
  static final class Pickle {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    Pickle() {
      op(0x80, 2);
    }

    Pickle op(int... bytes) {
      for (int b : bytes) {
        out.write(b);
      }
      return this;
    }

    Pickle ops(String opcodes) {
      opcodes.chars().forEach(out::write);
      return this;
    }

    Pickle text(String text) {
      byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
      op('X').int4(utf8.length);
      out.writeBytes(utf8);
      return this;
    }

    Pickle int4(int value) {
      return op(value & 255, value >> 8 & 255, value >> 16 & 255, value >>> 24);
    }

    Pickle number(int value) {
      return op('J').int4(value);
    }

    Pickle tuple(int... numbers) {
      op('(');
      for (int number : numbers) {
        number(number);
      }
      return op('t');
    }

    Pickle global(String module, String name) {
      return ops("c" + module + "\n" + name + "\n");
    }

    /** The persistent id of the storage "0", f32. */
    Pickle storage(int elements) {
      op('(').text("storage").global("torch", "FloatStorage").text("0").text("cpu");
      return number(elements).ops("tQ");
    }

    Pickle orderedDict() {
      return global("collections", "OrderedDict").ops(")R");
    }

    /** A tensor on the storage "0". */
    Pickle tensor(int elements, int offset, int[] dims, int[] strides) {
      global("torch._utils", "_rebuild_tensor_v2").op('(').storage(elements).number(offset);
      return tuple(dims).tuple(strides).op(0x89).orderedDict().ops("tR");
    }

    /** A dict whose "w" is what follows until {@link #bytes}. */
    static Pickle dict() {
      return new Pickle().ops("}(").text("w");
    }

    /** {@link #dict} closed. */
    Pickle end() {
      return ops("u.");
    }

    byte[] bytes() {
      return out.toByteArray();
    }
  }
}
