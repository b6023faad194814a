package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.checkpoint.CheckpointWriter;
import io.tensorhold.client.checkpoint.SafetensorsWriter;
import io.tensorhold.client.checkpoint.TensorSource;
import io.tensorhold.client.checkpoint.TensorSpec;
import io.tensorhold.client.checkpoint.TorchWriter;
import io.tensorhold.numerics.Codec;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;

/** Writes the tensors of a model to a file of the format that its name says. */
final class ModelExporter {
  private final ModelHandle model;
  private final TensorSource source;

  /**
   * @param source the tensors' bytes in their own dtypes
   */
  ModelExporter(ModelHandle model, TensorSource source) {
    this.model = model;
    this.source = source;
  }

  void write(Path file) throws IOException {
    List<TensorSpec> specs =
        model.parameters().stream()
            .map(p -> new TensorSpec(p.name(), p.dtype(), p.shape()))
            .toList();
    String name = file.toString();
    try (CheckpointWriter writer =
        name.endsWith(".pt") || name.endsWith(".pth") || name.endsWith(".bin")
            ? TorchWriter.create(file, specs, List.of())
            : SafetensorsWriter.create(file, specs, model.model().getSpec().getMetadataMap())) {
      ByteBuffer buffer = ByteBuffer.allocateDirect(StoredTensors.CHUNK_BYTES);
      for (Parameter parameter : model.parameters()) {
        long bytes = parameter.bytes(Codec.nativeOf(parameter.dtype()));
        for (long at = 0; at < bytes; at += StoredTensors.CHUNK_BYTES) {
          buffer.clear().limit((int) Math.min(StoredTensors.CHUNK_BYTES, bytes - at));
          source.read(parameter.name(), at, buffer);
          writer.write(parameter.name(), at, buffer.flip());
        }
      }
      writer.finish();
    }
  }
}
