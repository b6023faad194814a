package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.numerics.Shape;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * The header of a GGUF file of version 3, checked whole.
 *
 * <pre>
 * | "GGUF" | u32 3 | u64 tensors | u64 entries | entries | tensor infos | padding | tensor bytes |
 * entry  u64 n, n bytes of key, u32 type, value
 * info   u64 n, n bytes of name, u32 dimensions, u64 each, the innermost first, u32 type, u64 offset
 * </pre>
 *
 * Values are passed by, not kept: the header's memory is that of the keys and names.
 *
 * @param entries how many keys there are
 * @param entriesEnd where in the file the entries end: they begin at byte 24
 * @param alignment of the tensors' bytes: a power of two
 * @param tensors in the order of their bytes
 */
record GgufHeader(long entries, long entriesEnd, int alignment, List<Located> tensors) {
  static final int MAGIC = 0x46554747;
  static final int VERSION = 3;
  static final int FIXED_BYTES = 24;
  static final String ALIGNMENT_KEY = "general.alignment";
  static final int DEFAULT_ALIGNMENT = 32;
  static final int MAX_DIMENSIONS = 4;
  private static final int MAX_ALIGNMENT = 1 << 20;
  private static final int MAX_ENTRIES = 65_536;
  private static final int MAX_NAME_BYTES = 65_535;

  private static final int U32 = 4;
  private static final int BOOL = 7;
  private static final int TEXT = 8;
  private static final int ARRAY = 9;

  /** Bytes of a value by its type; 0 for texts and arrays, which say theirs. */
  private static final int[] WIDTHS = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

  /** A tensor and where its bytes are in the file. */
  record Located(TensorEntry entry, long start) {}

  static GgufHeader parse(OpenFile file) throws IOException {
    Reader reader = new Reader(file);
    try {
      return reader.read();
    } catch (EOFException e) {
      throw new CheckpointException(
          file.path(),
          "%s reaches past the end of the file, %d bytes".formatted(reader.what, file.size()),
          e);
    } catch (CharacterCodingException e) {
      throw new CheckpointException(file.path(), reader.what + " is not valid UTF-8", e);
    }
  }

  /** {@code bytes}, rounded up to a multiple of the alignment. */
  static long padded(long bytes, int alignment) {
    return Math.addExact(bytes, alignment - 1) & -alignment;
  }

  /** The state of reading one header. */
  private static final class Reader {
    private final OpenFile file;
    private final FileBytes in;
    private final HeapBudget heap;
    private final Set<String> names = new HashSet<>();
    private int alignment = DEFAULT_ALIGNMENT;

    /** What is being read, for the message if the file ends in it. */
    private String what = "the header";

    Reader(OpenFile file) {
      this.file = file;
      this.in = new FileBytes(file, 0, file.size());
      this.heap = new HeapBudget(file.path());
    }

    GgufHeader read() throws IOException {
      if (in.i4() != MAGIC) {
        throw bad("does not begin with \"GGUF\"");
      }
      int version = in.i4();
      if (version != VERSION) {
        throw bad(
            "is of version %s, allowed is %d%s"
                .formatted(
                    Integer.toUnsignedString(version),
                    VERSION,
                    Integer.reverseBytes(version) == VERSION ? " (it is big-endian)" : ""));
      }
      long tensors = in.i8();
      long entries = in.i8();
      if (tensors < 0 || tensors > SafetensorsHeader.MAX_TENSORS) {
        throw tooMany("tensors", tensors, SafetensorsHeader.MAX_TENSORS);
      }
      if (entries < 0 || entries > MAX_ENTRIES) {
        throw tooMany("entries", entries, MAX_ENTRIES);
      }
      for (long i = 0; i < entries; i++) {
        entry();
      }
      long entriesEnd = in.position();
      names.clear();
      return new GgufHeader(entries, entriesEnd, alignment, tensors(tensors));
    }

    private void entry() throws IOException {
      String key = name("the key of an entry");
      if (!names.add(key)) {
        throw bad("the key " + quote(key) + " is there twice");
      }
      what = "the value of " + quote(key);
      long type = in.u4();
      if (key.equals(ALIGNMENT_KEY)) {
        readAlignment(type);
      } else if (type == ARRAY) {
        array(key);
      } else {
        value(key, type, 1);
      }
    }

    private void readAlignment(long type) throws IOException {
      if (type != U32) {
        throw bad(ALIGNMENT_KEY + " is of type " + type + ", expected " + U32 + ", a u32");
      }
      long value = in.u4();
      if (Long.bitCount(value) != 1 || value > MAX_ALIGNMENT) {
        throw bad(
            "%s is %d, allowed are powers of two up to %d"
                .formatted(ALIGNMENT_KEY, value, MAX_ALIGNMENT));
      }
      alignment = (int) value;
    }

    private void array(String key) throws IOException {
      long type = in.u4();
      long count = in.i8();
      if (type == ARRAY) {
        throw bad("the value of " + quote(key) + " is an array of arrays");
      }
      value(key, type, count);
    }

    private void value(String key, long type, long count) throws IOException {
      if (type < 0 || type >= WIDTHS.length) {
        throw bad("the value of " + quote(key) + " is of the unknown type " + type);
      }
      if (type == TEXT) {
        if (count < 0 || count > in.left() / Long.BYTES) {
          throw new EOFException();
        }
        for (long i = 0; i < count; i++) {
          in.skip(in.i8());
        }
      } else if (type == BOOL) {
        if (count < 0 || count > in.left()) {
          throw new EOFException();
        }
        for (long i = 0; i < count; i++) {
          int value = in.u1();
          if (value > 1) {
            throw bad("the bool of " + quote(key) + " is " + value + ", allowed are 0 and 1");
          }
        }
      } else {
        int width = WIDTHS[(int) type];
        in.skip(count < 0 || count > in.left() / width ? -1 : count * width);
      }
    }

    private String name(String kind) throws IOException {
      what = kind;
      long length = in.i8();
      if (length == 0) {
        throw bad(kind + " is empty");
      }
      if (length < 0 || length > in.left()) {
        throw new EOFException();
      }
      if (length > MAX_NAME_BYTES) {
        throw bad("%s has %d bytes, the limit is %d".formatted(kind, length, MAX_NAME_BYTES));
      }
      heap.take(160 + 3 * length);
      return in.text((int) length);
    }

    private List<Located> tensors(long count) throws IOException {
      List<TensorEntry> entries = new ArrayList<>();
      long offset = 0;
      List<Long> offsets = new ArrayList<>();
      for (long i = 0; i < count; i++) {
        heap.take(256);
        TensorEntry entry = info();
        long said = in.i8();
        if (said != offset) {
          throw bad(
              entry.name(),
              "its offset is %s, expected %d: the padded end of the tensor before it"
                  .formatted(Long.toUnsignedString(said), offset));
        }
        entries.add(entry);
        offsets.add(offset);
        try {
          offset = padded(Math.addExact(offset, entry.bytes()), alignment);
        } catch (ArithmeticException e) {
          throw bad(entry.name(), "the size of the tensors up to it overflows");
        }
      }
      long dataStart = padded(in.position(), alignment);
      List<Located> located = new ArrayList<>();
      for (int i = 0; i < entries.size(); i++) {
        located.add(new Located(entries.get(i), dataStart + offsets.get(i)));
      }
      checkEnd(located, dataStart, offset);
      return List.copyOf(located);
    }

    private TensorEntry info() throws IOException {
      String name = name("the name of a tensor");
      if (!names.add(name)) {
        throw bad("tensor " + quote(name) + " is there twice");
      }
      what = "the description of tensor " + quote(name);
      long rank = in.u4();
      if (rank > MAX_DIMENSIONS) {
        throw bad(name, "it has %d dimensions, the limit is %d".formatted(rank, MAX_DIMENSIONS));
      }
      long[] dims = new long[(int) rank];
      for (int d = dims.length - 1; d >= 0; d--) {
        dims[d] = in.i8();
      }
      long id = in.u4();
      GgmlType type = GgmlType.ofId(id);
      if (type == null) {
        throw bad(name, "its type " + id + " is not known");
      }
      try {
        Shape shape = Shape.of(dims);
        int group = type.group();
        if (group > 1 && (rank == 0 || dims[dims.length - 1] % group != 0)) {
          throw bad(
              name,
              "its rows have %d elements, which is not a multiple of the %d that share a block"
                  .formatted(rank == 0 ? 1 : dims[dims.length - 1], group));
        }
        long bytes = type.codec().bytes(type.dtype(), shape.elements());
        return new TensorEntry(name, type.dtype(), shape, bytes, type.codec());
      } catch (IllegalArgumentException | ArithmeticException e) {
        throw bad(name, "its size overflows or is negative: " + java.util.Arrays.toString(dims));
      }
    }

    /** The file ends where the last tensor does, padded or not. */
    private void checkEnd(List<Located> tensors, long dataStart, long paddedBytes)
        throws CheckpointException {
      if (tensors.isEmpty()) {
        if (file.size() > dataStart) {
          throw bad("bytes after the header, which has no tensors (a file of two formats?)");
        }
        return;
      }
      Located last = tensors.getLast();
      long end = last.start() + last.entry().bytes();
      if (end < 0 || end > file.size()) {
        throw bad(
            last.entry().name(),
            "truncated: it ends at byte %s, the file at %d"
                .formatted(Long.toUnsignedString(end), file.size()));
      }
      if (file.size() > dataStart + paddedBytes) {
        throw bad(
            "bytes after the last tensor (a file of two formats?): it ends at byte %d, the file at"
                    .formatted(dataStart + paddedBytes)
                + " "
                + file.size());
      }
    }

    private CheckpointException tooMany(String kind, long count, long limit) {
      return bad("has %s %s, the limit is %d".formatted(Long.toUnsignedString(count), kind, limit));
    }

    private CheckpointException bad(String problem) {
      return new CheckpointException(file.path(), problem);
    }

    private CheckpointException bad(String tensor, String problem) {
      return bad("tensor " + quote(tensor) + ": " + problem);
    }
  }
}
