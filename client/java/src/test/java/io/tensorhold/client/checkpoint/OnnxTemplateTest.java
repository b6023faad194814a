package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.golden;
import static io.tensorhold.client.checkpoint.Fixtures.model;
import static io.tensorhold.client.checkpoint.Fixtures.tensor;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.client.checkpoint.Fixtures.Proto;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OnnxTemplateTest {
  @TempDir Path folder;

  private static TensorSource from(Map<String, byte[]> values) {
    return (name, offset, dst) -> dst.put(values.get(name), (int) offset, dst.remaining());
  }

  @Test
  void modelFilledWithItsOwnTensorsIsTheSameFile() throws IOException {
    byte[] original = model(tensor("w", 8, 2), tensor("v", 12, 3), tensor("empty", 0, 0));
    Path path = write(folder, "m.onnx", original);
    Map<String, byte[]> values = Fixtures.readAll(path);
    try (OnnxTemplate template = OnnxTemplate.open(path)) {
      assertThat(template.fill(from(values))).isEqualTo(original);
      template.fill(from(values), folder.resolve("copy.onnx"));
    }
    assertThat(folder.resolve("copy.onnx")).hasBinaryContent(original);
    assertThat(folder.toFile().list()).hasSize(2);
  }

  @Test
  void otherBytesChangeTheInitializersAndNothingElse() throws IOException {
    byte[] original = model(tensor("w", 8, 2), tensor("v", 4, 1));
    Path path = write(folder, "m.onnx", original);
    Map<String, byte[]> values = Map.of("w", new byte[] {9, 9, 9, 9, 9, 9, 9, 9}, "v", new byte[4]);
    byte[] filled;
    try (OnnxTemplate template = OnnxTemplate.open(path)) {
      filled = template.fill(from(values));
    }
    assertThat(filled).hasSameSizeAs(original);
    int changed = 0;
    for (int i = 0; i < filled.length; i++) {
      changed += filled[i] == original[i] ? 0 : 1;
    }
    assertThat(changed).isEqualTo(8 + 3); // v's first byte was a zero before
    assertThat(Fixtures.readAll(write(folder, "filled.onnx", filled)).get("w"))
        .containsExactly(9, 9, 9, 9, 9, 9, 9, 9);
  }

  @Test
  void varintsAndExternalDataBecomeRawDataWithTheLengthsAroundThemRewritten() throws IOException {
    write(folder, "typed.bin", golden("typed.bin"));
    Path path = write(folder, "typed.onnx", golden("typed.onnx"));
    Map<String, byte[]> values = Fixtures.readAll(path);
    Path alone = folder.resolve("alone/filled.onnx");
    Files.createDirectory(alone.getParent());
    try (OnnxTemplate template = OnnxTemplate.open(path);
        Checkpoint before = Checkpoint.open(path)) {
      template.fill(from(values), alone);
      try (Checkpoint after = Checkpoint.open(alone)) {
        assertThat(after.tensors()).isEqualTo(before.tensors());
        assertThat(after.metadata()).isEqualTo(before.metadata());
      }
    }
    Map<String, byte[]> filled = Fixtures.readAll(alone);
    assertThat(filled).hasSameSizeAs(values);
    values.forEach((name, bytes) -> assertThat(filled.get(name)).as(name).isEqualTo(bytes));
    try (OnnxTemplate again = OnnxTemplate.open(alone)) {
      assertThat(again.fill(from(values))).isEqualTo(Files.readAllBytes(alone));
    }
  }

  @Test
  void lengthsThatNeedMoreBytesThanBeforeAreRewrittenUpTheChain() throws IOException {
    byte[] packed = new byte[2000]; // one byte an element here, eight as raw_data
    Proto ids = new Proto().varint(1, 2000).varint(2, 7).bytes(7, packed).text(8, "ids");
    Path path = write(folder, "grow.onnx", model(tensor("w", 8, 2), ids, tensor("v", 8, 2)));
    byte[] values = new byte[16_000];
    values[15_999] = 1;
    Path target = folder.resolve("grown.onnx");
    try (OnnxTemplate template = OnnxTemplate.open(path)) {
      template.fill(
          (name, offset, dst) -> {
            byte[] source = name.equals("ids") ? values : new byte[8];
            dst.put(source, (int) offset, dst.remaining());
          },
          target);
    }
    assertThat(Fixtures.readAll(target)).containsOnlyKeys("ids", "v", "w");
    assertThat(Fixtures.readAll(target).get("ids")).isEqualTo(values);
  }

  @Test
  void sourceThatFailsLeavesNoFile() throws IOException {
    Path path = write(folder, "m.onnx", model(tensor("w", 8, 2)));
    Path target = folder.resolve("out.onnx");
    try (OnnxTemplate template = OnnxTemplate.open(path)) {
      assertThatThrownBy(
              () ->
                  template.fill(
                      (name, offset, dst) -> {
                        throw new IOException("no such model");
                      },
                      target))
          .hasMessage("no such model");
      assertThatThrownBy(() -> template.fill((name, offset, dst) -> dst.put((byte) 1), target))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("7 bytes of w");
    }
    assertThat(folder.toFile().list()).containsExactly("m.onnx");
  }
}
