package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One safetensors file, or the files of an index as one checkpoint. */
final class SafetensorsCheckpoint implements Checkpoint {
  private final Closeable files;
  private final TensorTable tensors;
  private final List<TensorAlias> aliases;
  private final Map<String, String> metadata;

  private SafetensorsCheckpoint(
      Path path, Closeable files, TensorTable tensors, Map<String, String> metadata)
      throws CheckpointException {
    Map<String, String> text = new LinkedHashMap<>(metadata);
    this.files = files;
    this.tensors = tensors;
    this.aliases = SafetensorsAliases.take(path, text, tensors);
    this.metadata = Map.copyOf(text);
  }

  static SafetensorsCheckpoint open(Path path) throws IOException {
    OpenFile file = OpenFile.open(path);
    try {
      SafetensorsHeader header = SafetensorsHeader.parse(file);
      TensorTable tensors = new TensorTable(path);
      addAll(tensors, file, header);
      return new SafetensorsCheckpoint(path, file, tensors, header.metadata());
    } catch (Throwable e) {
      file.close();
      throw e;
    }
  }

  static SafetensorsCheckpoint openIndex(Path path) throws IOException {
    SafetensorsIndex index;
    try (OpenFile file = OpenFile.open(path)) {
      index = SafetensorsIndex.parse(file);
    }
    ReferencedFiles files = new ReferencedFiles(path);
    try {
      TensorTable tensors = new TensorTable(path);
      Map<String, String> metadata = new LinkedHashMap<>();
      for (String name : index.files()) {
        OpenFile file = files.open(name);
        SafetensorsHeader header = SafetensorsHeader.parse(file);
        checkNamed(path, index, name, header);
        addAll(tensors, file, header);
        header.metadata().forEach(metadata::putIfAbsent);
      }
      checkAllFound(path, index, tensors);
      metadata.putAll(index.metadata());
      return new SafetensorsCheckpoint(path, files, tensors, metadata);
    } catch (Throwable e) {
      files.close();
      throw e;
    }
  }

  private static void addAll(TensorTable tensors, OpenFile file, SafetensorsHeader header)
      throws CheckpointException {
    for (SafetensorsHeader.Located t : header.tensors()) {
      tensors.add(t.entry(), new TensorData.Plain(file, header.dataStart() + t.begin()));
    }
  }

  /** Every tensor of a file must be the index's, there and nowhere else. */
  private static void checkNamed(
      Path path, SafetensorsIndex index, String file, SafetensorsHeader header)
      throws CheckpointException {
    for (SafetensorsHeader.Located t : header.tensors()) {
      String name = t.entry().name();
      String expected = index.fileOf().get(name);
      if (expected == null) {
        throw new CheckpointException(
            path, "tensor " + quote(name) + " of " + quote(file) + " is not in the index");
      }
      if (!expected.equals(file)) {
        throw new CheckpointException(
            path,
            "tensor "
                + quote(name)
                + " is in "
                + quote(file)
                + ", but the index has it in "
                + quote(expected));
      }
    }
  }

  private static void checkAllFound(Path path, SafetensorsIndex index, TensorTable tensors)
      throws CheckpointException {
    for (Map.Entry<String, String> e : index.fileOf().entrySet()) {
      if (!tensors.contains(e.getKey())) {
        throw new CheckpointException(
            path, "tensor " + quote(e.getKey()) + " is not in the file " + quote(e.getValue()));
      }
    }
  }

  @Override
  public String format() {
    return "safetensors";
  }

  @Override
  public List<TensorEntry> tensors() {
    return tensors.entries();
  }

  @Override
  public List<TensorAlias> aliases() {
    return aliases;
  }

  @Override
  public Map<String, String> metadata() {
    return metadata;
  }

  @Override
  public void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException {
    tensors.read(tensor, byteOffset, dst);
  }

  @Override
  public void close() throws IOException {
    files.close();
  }
}
