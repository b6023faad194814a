package io.tensorhold.cli.demo;

import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.TensorEntry;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** The word embeddings of MiniLM, straight from the checkpoint on the class path. */
final class WordEmbeddings {
  private WordEmbeddings() {}

  /** All 30,522 rows of {@value Autoencoder#WIDTH}, one after the other. */
  static float[] rows() throws IOException {
    Path onnx = Files.createTempFile("tensorhold-compare-", ".onnx");
    try (var in = WordEmbeddings.class.getResourceAsStream("/all-minilm-l6-v2.onnx")) {
      if (in == null) {
        throw new IOException("the class path has no MiniLM: run ./build again");
      }
      Files.copy(in, onnx, StandardCopyOption.REPLACE_EXISTING);
      try (Checkpoint checkpoint = Checkpoint.open(onnx)) {
        TensorEntry tensor =
            checkpoint.tensors().stream()
                .filter(t -> t.name().equals(DemoTraining.EMBEDDINGS))
                .findFirst()
                .orElseThrow(() -> new IOException("no " + DemoTraining.EMBEDDINGS));
        byte[] bytes = new byte[Math.toIntExact(tensor.bytes())];
        checkpoint.read(tensor, 0, ByteBuffer.wrap(bytes));
        float[] rows = new float[bytes.length / 4];
        MemorySegment.ofArray(rows).copyFrom(MemorySegment.ofArray(bytes));
        return rows;
      }
    } finally {
      Files.delete(onnx);
    }
  }
}
