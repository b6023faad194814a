package io.tensorhold.client.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The real all-MiniLM-L6-v2; the digests were computed by the onnx package. */
class MiniLmTest {
  @TempDir static Path folder;
  private static Path model;

  @BeforeAll
  static void unpack() throws IOException {
    model = folder.resolve("all-minilm-l6-v2.onnx");
    try (var in = MiniLmTest.class.getResourceAsStream("/all-minilm-l6-v2.onnx")) {
      Files.copy(in, model);
    }
  }

  private static String sha256(Checkpoint checkpoint, TensorEntry tensor)
      throws IOException, NoSuchAlgorithmException {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
    for (long at = 0; at < tensor.bytes(); at += buffer.limit()) {
      buffer.clear().limit((int) Math.min(buffer.capacity(), tensor.bytes() - at));
      checkpoint.read(tensor, at, buffer);
      digest.update(buffer.flip());
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  @Test
  void initializersAreThoseThatTheOnnxPackageReads() throws Exception {
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      assertThat(checkpoint.tensors())
          .hasSize(104)
          .contains(
              new TensorEntry(
                  "embeddings.word_embeddings.weight", DType.F32, Shape.of(30522, 384), 46_881_792),
              new TensorEntry("embeddings.position_ids", DType.I64, Shape.of(1, 512), 4096));
      assertThat(checkpoint.tensors().stream().mapToLong(TensorEntry::bytes).sum())
          .isEqualTo(90_856_960);
      assertThat(
              sha256(checkpoint, Fixtures.entry(checkpoint, "embeddings.word_embeddings.weight")))
          .isEqualTo("352d34a4ad725bb742f36fc3f2a2dcfa7f07317926128d47c362198125003892");
      assertThat(sha256(checkpoint, Fixtures.entry(checkpoint, "embeddings.position_ids")))
          .isEqualTo("5738153ec97595b1c1e4dc027f7b7fb4534f19ed2ce9f9ee712e6d34a384cde7");
    }
  }

  @Test
  void modelFilledWithItsOwnTensorsIsTheSameFile() throws IOException {
    Path copy = folder.resolve("copy.onnx");
    try (Checkpoint checkpoint = Checkpoint.open(model);
        OnnxTemplate template = OnnxTemplate.open(model)) {
      Map<String, TensorEntry> byName =
          checkpoint.tensors().stream()
              .collect(Collectors.toMap(TensorEntry::name, Function.identity()));
      template.fill((name, offset, dst) -> checkpoint.read(byName.get(name), offset, dst), copy);
    }
    assertThat(Files.mismatch(model, copy)).isEqualTo(-1);
  }
}
