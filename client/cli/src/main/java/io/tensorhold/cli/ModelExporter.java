package io.tensorhold.cli;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.CheckpointWriter;
import io.tensorhold.client.checkpoint.GgufWriter;
import io.tensorhold.client.checkpoint.SafetensorsWriter;
import io.tensorhold.client.checkpoint.ShardedSafetensorsWriter;
import io.tensorhold.client.checkpoint.TensorAlias;
import io.tensorhold.client.checkpoint.TensorSpec;
import io.tensorhold.client.checkpoint.TorchWriter;
import io.tensorhold.numerics.Codec;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongConsumer;

/** Writes the tensors of a model to a file of the format that its name says, or to a folder. */
final class ModelExporter {
  private static final String GGUF_ENTRIES = "entries.gguf";

  private final TensorholdClient client;
  private final ModelHandle model;
  private final LongConsumer progress;

  /** Every name with its tensor: first those that have bytes. */
  private final Map<String, Parameter> named = new LinkedHashMap<>();

  private final List<TensorSpec> specs = new ArrayList<>();
  private final List<TensorAlias> aliases = new ArrayList<>();

  /**
   * @param progress told how many bytes were written
   */
  ModelExporter(TensorholdClient client, ModelHandle model, LongConsumer progress) {
    this.client = client;
    this.model = model;
    this.progress = progress;
    model.parameters().forEach(p -> named.put(p.name(), p));
    named.putAll(model.aliases());
    named.forEach((name, p) -> specs.add(new TensorSpec(name, p.dtype(), p.shape())));
    model
        .aliases()
        .forEach(
            (name, p) -> aliases.add(new TensorAlias(name, p.tensor().name(), p.firstElement())));
  }

  /** Whether what is to be written is a folder. */
  static boolean isFolder(Path target, long shardBytes) {
    return shardBytes > 0 || Files.isDirectory(target);
  }

  /**
   * Writes the model.
   *
   * @param shardBytes largest size of a file of a folder; 0: one file
   */
  void write(Path target, long shardBytes) throws IOException {
    String name = target.toString();
    Map<String, String> metadata = model.model().getSpec().getMetadataMap();
    if (isFolder(target, shardBytes)) {
      Files.createDirectories(target);
      writeAttachments(target);
      long most = shardBytes == 0 ? Long.MAX_VALUE : shardBytes;
      copy(ShardedSafetensorsWriter.create(target, most, specs, aliases, metadata));
    } else if (name.endsWith(".safetensors")) {
      copy(SafetensorsWriter.create(target, specs, aliases, metadata));
    } else if (name.endsWith(".pt") || name.endsWith(".pth") || name.endsWith(".bin")) {
      copy(TorchWriter.create(target, specs, aliases));
    } else if (name.endsWith(".gguf")) {
      writeGguf(target);
    } else {
      throw new CliFailure(
          target
              + ": unknown kind of file; known are *.safetensors, *.pt, *.pth, *.bin, *.gguf,"
              + " *.onnx, and a folder that is there or, with --shard-size, will be");
    }
  }

  /** Copies the tensors that have bytes of their own, in their own dtypes. */
  private void copy(CheckpointWriter writer) throws IOException {
    Map<String, Parameter> owners = new LinkedHashMap<>();
    Map<String, Codec> codecs = new HashMap<>();
    for (Parameter parameter : model.parameters()) {
      owners.put(parameter.name(), parameter);
      codecs.put(parameter.name(), Codec.nativeOf(parameter.dtype()));
    }
    copy(writer, owners, codecs);
  }

  private void copy(
      CheckpointWriter writer, Map<String, Parameter> tensors, Map<String, Codec> codecs)
      throws IOException {
    try (writer) {
      ByteBuffer buffer = ByteBuffer.allocateDirect(StoredTensors.CHUNK_BYTES);
      for (Map.Entry<String, Parameter> tensor : tensors.entrySet()) {
        Parameter parameter = tensor.getValue();
        Codec codec = codecs.get(tensor.getKey());
        StoredTensors source = new StoredTensors(client, model, p -> codec);
        long bytes = codec.bytes(parameter.dtype(), parameter.elements());
        for (long at = 0; at < bytes; at += StoredTensors.CHUNK_BYTES) {
          buffer.clear().limit((int) Math.min(StoredTensors.CHUNK_BYTES, bytes - at));
          source.read(parameter, at, buffer);
          progress.accept(buffer.flip().remaining());
          writer.write(tensor.getKey(), at, buffer);
        }
      }
      writer.finish();
    }
  }

  /** GGUF has no aliases: each has its bytes. What is stored in its blocks is not decoded. */
  private void writeGguf(Path target) throws IOException {
    Map<TensorSpec, Codec> stored = new LinkedHashMap<>();
    Map<String, Codec> codecs = new HashMap<>();
    for (TensorSpec spec : specs) {
      Parameter parameter = named.get(spec.name());
      Codec form = parameter.isView() ? Codec.nativeOf(spec.dtype()) : parameter.codec();
      stored.put(spec, form);
      codecs.put(spec.name(), GgufWriter.codec(target, spec, form));
    }
    Parameter attached = model.attachments().get(GGUF_ENTRIES);
    ByteBuffer entries = attached == null ? ByteBuffer.allocate(0) : content(attached);
    copy(GgufWriter.create(target, entries, stored), named, codecs);
  }

  private ByteBuffer content(Parameter attachment) {
    ByteBuffer content = ByteBuffer.allocate(Math.toIntExact(attachment.bytes()));
    new StoredTensors(client, model).read(attachment, 0, content);
    return content.flip();
  }

  private void writeAttachments(Path folder) throws IOException {
    for (Map.Entry<String, Parameter> attachment : model.attachments().entrySet()) {
      String name = attachment.getKey();
      if (name.equals(GGUF_ENTRIES)) {
        continue;
      }
      if (name.startsWith(".")
          || name.contains("/")
          || name.contains("\\")
          || name.contains("safetensors")
          || !Path.of(name).equals(Path.of(name).getFileName())) {
        throw new CliFailure(
            "%s has an attachment %s, which is no name of a file beside weights"
                .formatted(model.name(), quote(name)));
      }
      Path temporary = Files.createTempFile(folder, ".attachment", ".tmp");
      try {
        Files.write(temporary, content(attachment.getValue()).array());
        Files.move(temporary, folder.resolve(name), StandardCopyOption.REPLACE_EXISTING);
      } finally {
        Files.deleteIfExists(temporary);
      }
    }
  }

  /** Bytes that will be written, but for GGUF's blocks and its copies of aliases. */
  static long bytes(ModelHandle model) {
    return model.parameters().stream().mapToLong(p -> p.bytes(Codec.nativeOf(p.dtype()))).sum();
  }
}
