package io.tensorhold.client.checkpoint;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Safetensors files of a limited size being written, and their index: {@code
 * model-00001-of-00003.safetensors} and so on beside {@code model.safetensors.index.json}. A tensor
 * that is larger has a file of its own; what fits in one file is {@code model.safetensors} alone.
 * The index comes last: until then nothing names the files.
 */
public final class ShardedSafetensorsWriter implements CheckpointWriter {
  private static final String STEM = "model";
  private static final String SUFFIX = ".safetensors";

  private final Path folder;
  private final List<SafetensorsWriter> files = new ArrayList<>();
  private final Map<String, SafetensorsWriter> fileOf = new HashMap<>();
  private final TreeMap<String, String> nameOf = new TreeMap<>();
  private final Map<String, String> metadata;
  private final long totalBytes;

  private ShardedSafetensorsWriter(Path folder, Map<String, String> metadata, long totalBytes) {
    this.folder = folder;
    this.metadata = metadata;
    this.totalBytes = totalBytes;
  }

  /**
   * Starts the files.
   *
   * @param mostBytes of the tensors of a file
   * @param metadata text for each file and the index
   * @throws CheckpointException as {@link SafetensorsWriter#create}, and if there are more than
   *     4096 files
   */
  public static ShardedSafetensorsWriter create(
      Path folder,
      long mostBytes,
      List<TensorSpec> tensors,
      List<TensorAlias> aliases,
      Map<String, String> metadata)
      throws IOException {
    List<TensorSpec> owned = SafetensorsWriter.owned(tensors, aliases);
    List<List<TensorSpec>> groups = new ArrayList<>();
    long total = 0;
    long inFile = 0;
    for (TensorSpec tensor : owned) {
      long bytes = tensor.bytes();
      if (groups.isEmpty() || (inFile > 0 && bytes > mostBytes - inFile)) {
        groups.add(new ArrayList<>());
        inFile = 0;
      }
      groups.getLast().add(tensor);
      inFile += bytes;
      total += bytes;
    }
    if (groups.size() > ReferencedFiles.MAX_FILES) {
      throw new CheckpointException(
          folder,
          "would have %d files, the limit is %d: allow more than %d bytes in each"
              .formatted(groups.size(), ReferencedFiles.MAX_FILES, mostBytes));
    }
    Map<String, String> text = SafetensorsWriter.withAliases(tensors, aliases, metadata);
    ShardedSafetensorsWriter writer = new ShardedSafetensorsWriter(folder, text, total);
    try {
      for (int i = 0; i < groups.size(); i++) {
        String name =
            groups.size() == 1
                ? STEM + SUFFIX
                : "%s-%05d-of-%05d%s".formatted(STEM, i + 1, groups.size(), SUFFIX);
        writer.add(name, groups.get(i), groups.size() == 1 ? text : metadata);
      }
      return writer;
    } catch (Throwable e) {
      writer.close();
      throw e;
    }
  }

  private void add(String name, List<TensorSpec> tensors, Map<String, String> text)
      throws IOException {
    SafetensorsWriter file = SafetensorsWriter.create(folder.resolve(name), tensors, text);
    files.add(file);
    for (TensorSpec tensor : tensors) {
      fileOf.put(tensor.name(), file);
      nameOf.put(tensor.name(), name);
    }
  }

  @Override
  public void write(String tensor, long byteOffset, ByteBuffer data) throws IOException {
    SafetensorsWriter file = fileOf.get(tensor);
    if (file == null) {
      throw new IllegalArgumentException("no tensor " + tensor + " with bytes in " + folder);
    }
    file.write(tensor, byteOffset, data);
  }

  @Override
  public void finish() throws IOException {
    for (SafetensorsWriter file : files) {
      file.finish();
    }
    if (files.size() > 1) {
      try (NewFile index = NewFile.create(folder.resolve(STEM + SafetensorsIndex.SUFFIX))) {
        index.write(0, ByteBuffer.wrap(index()));
        index.commit();
      }
    }
  }

  private byte[] index() throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (JsonGenerator json = new JsonFactory().createGenerator(out).useDefaultPrettyPrinter()) {
      json.writeStartObject();
      json.writeObjectFieldStart("metadata");
      for (Map.Entry<String, String> text : new TreeMap<>(metadata).entrySet()) {
        if (!text.getKey().equals("total_size")) {
          json.writeStringField(text.getKey(), text.getValue());
        }
      }
      json.writeNumberField("total_size", totalBytes);
      json.writeEndObject();
      json.writeObjectFieldStart("weight_map");
      for (Map.Entry<String, String> tensor : nameOf.entrySet()) {
        json.writeStringField(tensor.getKey(), tensor.getValue());
      }
      json.writeEndObject();
      json.writeEndObject();
    }
    return out.toByteArray();
  }

  @Override
  public void close() throws IOException {
    OpenFiles.closeAll(files.stream().map(file -> (java.io.Closeable) file::close).toList());
  }
}
