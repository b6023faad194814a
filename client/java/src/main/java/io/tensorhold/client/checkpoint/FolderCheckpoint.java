package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * A folder as Hugging Face's tools write it: a checkpoint, and beside it the configuration and the
 * tokenizer, which travel along as attachments. Those are the files directly in it that end in
 * {@link #ENDINGS}, but indexes of weights; hidden files, scripts and everything else stay behind.
 */
final class FolderCheckpoint implements Checkpoint {
  private static final List<String> ENDINGS =
      List.of(".json", ".txt", ".model", ".jinja", ".tiktoken", ".jsonl");

  private static final int MAX_ATTACHMENTS = 64;
  private static final long MAX_ATTACHMENT_BYTES = 256 << 20;

  private final Checkpoint weights;
  private final ReferencedFiles files;
  private final TensorTable attachments;

  private FolderCheckpoint(Checkpoint weights, Path folder) throws IOException {
    this.weights = weights;
    this.files = new ReferencedFiles(folder.resolve("."));
    this.attachments = new TensorTable(folder);
  }

  static FolderCheckpoint open(Path folder, Path weights) throws IOException {
    Checkpoint checkpoint = Checkpoint.open(weights);
    try {
      FolderCheckpoint whole = new FolderCheckpoint(checkpoint, folder);
      try {
        whole.attachAll(folder);
        return whole;
      } catch (Throwable e) {
        whole.files.close();
        throw e;
      }
    } catch (Throwable e) {
      checkpoint.close();
      throw e;
    }
  }

  private void attachAll(Path folder) throws IOException {
    TreeSet<String> names = new TreeSet<>();
    try (DirectoryStream<Path> all = Files.newDirectoryStream(folder)) {
      for (Path file : all) {
        String name = String.valueOf(file.getFileName());
        if (isAttachment(name) && Files.isRegularFile(file)) {
          names.add(name);
        }
        if (names.size() > MAX_ATTACHMENTS) {
          throw new CheckpointException(
              folder,
              "holds more than %d files that would travel along (*%s); name the checkpoint itself"
                  .formatted(MAX_ATTACHMENTS, String.join(", *", ENDINGS)));
        }
      }
    }
    for (String name : names) {
      OpenFile file = files.open(name);
      if (file.size() > MAX_ATTACHMENT_BYTES) {
        throw new CheckpointException(
            file.path(),
            "would travel along, and has %d bytes; the limit is %d"
                .formatted(file.size(), MAX_ATTACHMENT_BYTES));
      }
      TensorEntry entry = new TensorEntry(name, DType.U8, Shape.of(file.size()), file.size());
      attachments.add(entry, new TensorData.Plain(file, 0));
    }
  }

  private static boolean isAttachment(String name) {
    return !name.startsWith(".")
        && !name.endsWith(".index.json")
        && ENDINGS.stream().anyMatch(name::endsWith);
  }

  @Override
  public String format() {
    return weights.format();
  }

  @Override
  public List<TensorEntry> tensors() {
    return weights.tensors();
  }

  @Override
  public List<TensorAlias> aliases() {
    return weights.aliases();
  }

  @Override
  public List<TensorEntry> attachments() {
    List<TensorEntry> all = new ArrayList<>(weights.attachments());
    all.addAll(attachments.entries());
    return all;
  }

  @Override
  public Map<String, String> metadata() {
    return weights.metadata();
  }

  @Override
  public void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException {
    if (attachments.entries().contains(tensor)) {
      attachments.read(tensor, byteOffset, dst);
    } else {
      weights.read(tensor, byteOffset, dst);
    }
  }

  @Override
  public void close() throws IOException {
    OpenFiles.closeAll(List.<Closeable>of(weights::close, files));
  }
}
