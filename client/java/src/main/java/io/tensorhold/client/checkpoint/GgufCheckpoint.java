package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * A GGUF file. Its entries, which hold the tokenizer and what runs the model, travel along as an
 * attachment: a GGUF file of its own that has them and no tensors.
 */
final class GgufCheckpoint implements Checkpoint {
  /** Name of the attachment. */
  static final String ENTRIES = "entries.gguf";

  private final OpenFile file;
  private final TensorTable tensors;
  private final TensorTable attachments;

  private GgufCheckpoint(OpenFile file, GgufHeader header) throws CheckpointException {
    this.file = file;
    this.tensors = new TensorTable(file.path());
    for (GgufHeader.Located tensor : header.tensors()) {
      tensors.add(tensor.entry(), new TensorData.Plain(file, tensor.start()));
    }
    this.attachments = new TensorTable(file.path());
    long bytes = header.entriesEnd();
    attachments.add(
        new TensorEntry(ENTRIES, DType.U8, Shape.of(bytes), bytes),
        new Entries(file, header.entries()));
  }

  static GgufCheckpoint open(Path path) throws IOException {
    OpenFile file = OpenFile.open(path);
    try {
      return new GgufCheckpoint(file, GgufHeader.parse(file));
    } catch (Throwable e) {
      file.close();
      throw e;
    }
  }

  /** The header up to the end of the entries, with no tensors in its count. */
  private record Entries(OpenFile file, long entries) implements TensorData {
    @Override
    public void read(long offset, ByteBuffer dst) throws IOException {
      ByteBuffer fixed = ByteBuffer.allocate(GgufHeader.FIXED_BYTES).order(ByteOrder.LITTLE_ENDIAN);
      fixed.putInt(GgufHeader.MAGIC).putInt(GgufHeader.VERSION).putLong(0).putLong(entries).flip();
      if (offset < fixed.limit()) {
        fixed.position((int) offset);
        fixed.limit(Math.min(fixed.limit(), fixed.position() + dst.remaining()));
        long from = offset + fixed.remaining();
        dst.put(fixed);
        file.read(from, dst);
      } else {
        file.read(offset, dst);
      }
    }
  }

  @Override
  public String format() {
    return "gguf";
  }

  @Override
  public List<TensorEntry> tensors() {
    return tensors.entries();
  }

  @Override
  public List<TensorEntry> attachments() {
    return attachments.entries();
  }

  @Override
  public Map<String, String> metadata() {
    return Map.of();
  }

  @Override
  public void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException {
    (attachments.entries().contains(tensor) ? attachments : tensors).read(tensor, byteOffset, dst);
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
