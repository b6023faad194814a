package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.numerics.Codec;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A GGUF file of version 3 being written: entries, then tensors in the order they were given, each
 * from a multiple of the alignment on. Blocks of q8_0 and q4_0 are written as they are stored; each
 * tensor's bytes come from its first to its last.
 */
public final class GgufWriter implements CheckpointWriter {
  private final NewFile file;
  private final Path target;
  private final int alignment;
  private final Map<String, Extent> extents;

  private static final class Extent {
    final long start;
    final long bytes;
    long written;

    Extent(long start, long bytes) {
      this.start = start;
      this.bytes = bytes;
    }
  }

  private GgufWriter(NewFile file, Path target, int alignment, Map<String, Extent> extents) {
    this.file = file;
    this.target = target;
    this.alignment = alignment;
    this.extents = extents;
  }

  /**
   * What the bytes of a tensor of a GGUF file are encoded in, by how it is stored.
   *
   * @throws CheckpointException if GGUF has nothing for the dtype or the shape
   */
  public static Codec codec(Path target, TensorSpec spec, Codec stored) throws CheckpointException {
    return type(target, spec, stored).codec();
  }

  private static GgmlType type(Path target, TensorSpec spec, Codec stored)
      throws CheckpointException {
    GgmlType type = GgmlType.of(spec.dtype(), stored, spec.shape());
    if (type == null || spec.shape().rank() > GgufHeader.MAX_DIMENSIONS) {
      throw new CheckpointException(
          target,
          "GGUF has nothing for the tensor %s, %s %s: %s"
              .formatted(
                  quote(spec.name()),
                  spec.dtype(),
                  spec.shape(),
                  type == null
                      ? "it knows no such dtype"
                      : "it has at most " + GgufHeader.MAX_DIMENSIONS + " dimensions"));
    }
    return type;
  }

  /**
   * Starts a file with the tensors it will have.
   *
   * @param entries a GGUF file without tensors, whose entries it takes; none if it has no bytes
   * @param tensors their codecs are how they are stored
   */
  public static GgufWriter create(Path target, ByteBuffer entries, Map<TensorSpec, Codec> tensors)
      throws IOException {
    NewFile file = NewFile.create(target);
    try {
      ByteBuffer head = entries.hasRemaining() ? entries.duplicate() : noEntries();
      long infosAt = head.remaining();
      file.write(0, head);
      int alignment = alignment(file, target);
      ByteBuffer count = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
      file.write(8, count.putLong(0, tensors.size()));
      ByteArrayOutputStream infos = new ByteArrayOutputStream();
      List<Long> offsets = new ArrayList<>();
      long offset = 0;
      for (Map.Entry<TensorSpec, Codec> tensor : tensors.entrySet()) {
        TensorSpec spec = tensor.getKey();
        GgmlType type = type(target, spec, tensor.getValue());
        infos.writeBytes(info(spec, type, offset));
        offsets.add(offset);
        long bytes = type.codec().bytes(spec.dtype(), spec.shape().elements());
        offset = GgufHeader.padded(Math.addExact(offset, bytes), alignment);
      }
      long infosEnd = infosAt + infos.size();
      long dataStart = GgufHeader.padded(infosEnd, alignment);
      file.write(infosAt, ByteBuffer.wrap(infos.toByteArray()));
      file.write(infosEnd, ByteBuffer.allocate((int) (dataStart - infosEnd)));
      Map<String, Extent> extents = new HashMap<>();
      int i = 0;
      for (Map.Entry<TensorSpec, Codec> tensor : tensors.entrySet()) {
        TensorSpec spec = tensor.getKey();
        GgmlType type = type(target, spec, tensor.getValue());
        long bytes = type.codec().bytes(spec.dtype(), spec.shape().elements());
        extents.put(spec.name(), new Extent(dataStart + offsets.get(i++), bytes));
      }
      return new GgufWriter(file, target, alignment, extents);
    } catch (Throwable e) {
      file.close();
      throw e;
    }
  }

  private static ByteBuffer noEntries() {
    ByteBuffer head = ByteBuffer.allocate(GgufHeader.FIXED_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    return head.putInt(0, GgufHeader.MAGIC).putInt(4, GgufHeader.VERSION);
  }

  /** The alignment that the entries ask for; they are checked as those of a file from outside. */
  private static int alignment(NewFile file, Path target) throws IOException {
    try (OpenFile head = file.reopen()) {
      return GgufHeader.parse(head).alignment();
    } catch (CheckpointException e) {
      throw new CheckpointException(target, "the model's GGUF entries: " + e.getMessage(), e);
    }
  }

  private static byte[] info(TensorSpec spec, GgmlType type, long offset) {
    byte[] name = spec.name().getBytes(StandardCharsets.UTF_8);
    int rank = spec.shape().rank();
    byte[] bytes = new byte[8 + name.length + 4 + 8 * rank + 4 + 8];
    ByteBuffer info = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    info.putLong(name.length).put(name).putInt(rank);
    for (int d = rank - 1; d >= 0; d--) {
      info.putLong(spec.shape().dim(d));
    }
    info.putInt(type.id()).putLong(offset);
    return bytes;
  }

  @Override
  public void write(String tensor, long byteOffset, ByteBuffer data) throws IOException {
    Extent extent = extents.get(tensor);
    int length = data.remaining();
    if (extent == null || byteOffset != extent.written || length > extent.bytes - byteOffset) {
      throw new IllegalArgumentException(
          "bytes [%d, +%d) of %s in %s, of which %d of %d are written"
              .formatted(
                  byteOffset,
                  length,
                  quote(tensor),
                  target,
                  extent == null ? 0 : extent.written,
                  extent == null ? 0 : extent.bytes));
    }
    file.write(extent.start + byteOffset, data);
    extent.written += length;
    if (extent.written == extent.bytes) {
      long end = extent.start + extent.bytes;
      int padding = (int) (GgufHeader.padded(end, alignment) - end);
      file.write(end, ByteBuffer.allocate(padding));
    }
  }

  @Override
  public void finish() throws IOException {
    for (Map.Entry<String, Extent> entry : extents.entrySet()) {
      Extent extent = entry.getValue();
      if (extent.written < extent.bytes) {
        throw new IllegalStateException(
            "byte %d of %s was not written".formatted(extent.written, quote(entry.getKey())));
      }
    }
    file.commit();
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
