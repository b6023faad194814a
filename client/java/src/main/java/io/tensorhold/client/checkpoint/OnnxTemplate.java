package io.tensorhold.client.checkpoint;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * An ONNX model as a mould: its graph stays, its initializers get other bytes of the same dtype and
 * shape.
 *
 * <p>Where the original keeps an initializer as plain bytes ({@code raw_data}, {@code float_data},
 * {@code double_data}) they are overwritten in place; every other byte of the file is copied, so
 * filling a model with its own tensors gives the same file. Elements kept as varints or in another
 * file become {@code raw_data}, and only the lengths around them change.
 */
public final class OnnxTemplate implements AutoCloseable {
  /** Protobuf's own limit on a message. */
  static final long MAX_MODEL_BYTES = Integer.MAX_VALUE;

  private static final int RAW_DATA_TAG = (9 << 3) | ProtoReader.LENGTH_DELIMITED;
  private static final int COPY_BYTES = 1 << 20;
  private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

  private final Path path;
  private final OnnxCheckpoint checkpoint;
  private final List<Edit> edits;
  private final long filledBytes;

  /**
   * Bytes {@code [start, end)} of the original, and what stands there instead: a literal, then
   * bytes of a tensor.
   */
  private record Edit(
      long start, long end, ByteBuffer literal, String tensor, long from, long tensorBytes) {
    long newLength() {
      return literal.remaining() + tensorBytes;
    }
  }

  private OnnxTemplate(Path path, OnnxCheckpoint checkpoint) throws CheckpointException {
    this.path = path;
    this.checkpoint = checkpoint;
    this.edits = new ArrayList<>();
    long growth = 0;
    for (OnnxInitializer initializer : checkpoint.graph().initializers()) {
      growth += plan(initializer);
    }
    if (growth != 0) {
      growth += replaceLength(checkpoint.graph().graph(), growth);
    }
    edits.sort(Comparator.comparingLong(Edit::start).thenComparingLong(Edit::end));
    this.filledBytes = checkpoint.file().size() + growth;
    if (filledBytes > MAX_MODEL_BYTES && growth != 0) {
      throw new CheckpointException(
          path,
          "with its external data inside, the model would have "
              + filledBytes
              + " bytes; a protobuf message has at most "
              + MAX_MODEL_BYTES);
    }
  }

  /**
   * Opens a model to be filled.
   *
   * @throws CheckpointException if it is not a whole and valid ONNX file, or if taking its external
   *     data into it makes it larger than a protobuf message can be
   */
  public static OnnxTemplate open(Path path) throws IOException {
    OnnxCheckpoint checkpoint = OnnxCheckpoint.open(path);
    try {
      return new OnnxTemplate(path, checkpoint);
    } catch (Throwable e) {
      checkpoint.close();
      throw e;
    }
  }

  /** The initializers of the graph, in its order. */
  public List<TensorEntry> tensors() {
    return checkpoint.tensors();
  }

  /** Writes the filled model to a file, which appears whole or not at all. */
  public void fill(TensorSource source, Path target) throws IOException {
    try (NewFile file = NewFile.create(target)) {
      long[] at = {0};
      write(
          source,
          bytes -> {
            int n = bytes.remaining();
            file.write(at[0], bytes);
            at[0] += n;
          });
      file.commit();
    }
  }

  /**
   * The filled model as an array.
   *
   * @throws IllegalStateException if it is larger than an array can be
   */
  public byte[] fill(TensorSource source) throws IOException {
    if (filledBytes > Integer.MAX_VALUE - COPY_BYTES) {
      throw new IllegalStateException(
          path + ": a model of " + filledBytes + " bytes does not fit in an array; fill a file");
    }
    byte[] filled = new byte[(int) filledBytes];
    write(source, ByteBuffer.wrap(filled)::put);
    return filled;
  }

  private interface Sink {
    void write(ByteBuffer bytes) throws IOException;
  }

  private long plan(OnnxInitializer initializer) {
    String name = initializer.entry().name();
    if (!initializer.inPlace().isEmpty()) {
      long from = 0;
      for (Chunk piece : initializer.inPlace()) {
        edits.add(new Edit(piece.start(), piece.end(), NOTHING, name, from, piece.length()));
        from += piece.length();
      }
      return 0;
    }
    if (initializer.entry().bytes() == 0 && initializer.payload().isEmpty()) {
      return 0;
    }
    long growth = 0;
    for (Chunk field : initializer.payload()) {
      edits.add(new Edit(field.start(), field.end(), NOTHING, name, 0, 0));
      growth -= field.length();
    }
    long bytes = initializer.entry().bytes();
    var head = new ByteArrayOutputStream();
    putVarint(head, RAW_DATA_TAG);
    putVarint(head, bytes);
    long end = initializer.field().end();
    Edit raw = new Edit(end, end, ByteBuffer.wrap(head.toByteArray()), name, 0, bytes);
    edits.add(raw);
    growth += raw.newLength();
    return growth + replaceLength(initializer.field(), growth);
  }

  /**
   * Plans the new length of a field that grows, and says how many bytes longer that is to write.
   */
  private long replaceLength(ProtoReader.Field field, long growth) {
    var length = new ByteArrayOutputStream();
    putVarint(length, field.length() + growth);
    Edit edit =
        new Edit(
            field.lengthAt(), field.valueStart(), ByteBuffer.wrap(length.toByteArray()), "", 0, 0);
    edits.add(edit);
    return edit.newLength() - (edit.end() - edit.start());
  }

  private static void putVarint(ByteArrayOutputStream out, long value) {
    long rest = value;
    while (rest >>> 7 != 0) {
      out.write((int) ((rest & 0x7f) | 0x80));
      rest >>>= 7;
    }
    out.write((int) rest);
  }

  private void write(TensorSource source, Sink sink) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(COPY_BYTES);
    long at = 0;
    for (Edit edit : edits) {
      copy(at, edit.start(), buffer, sink);
      sink.write(edit.literal().duplicate());
      for (long done = 0; done < edit.tensorBytes(); ) {
        buffer.clear().limit((int) Math.min(buffer.capacity(), edit.tensorBytes() - done));
        int n = buffer.remaining();
        source.read(edit.tensor(), edit.from() + done, buffer);
        if (buffer.hasRemaining()) {
          throw new IllegalStateException(
              "the source left " + buffer.remaining() + " bytes of " + edit.tensor() + " unfilled");
        }
        sink.write(buffer.flip());
        done += n;
      }
      at = edit.end();
    }
    copy(at, checkpoint.file().size(), buffer, sink);
  }

  private void copy(long from, long to, ByteBuffer buffer, Sink sink) throws IOException {
    for (long at = from; at < to; at += buffer.limit()) {
      buffer.clear().limit((int) Math.min(buffer.capacity(), to - at));
      checkpoint.file().read(at, buffer);
      sink.write(buffer.flip());
    }
  }

  @Override
  public void close() throws IOException {
    checkpoint.close();
  }
}
