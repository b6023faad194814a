package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.golden;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsWriterTest {
  private static final TensorSpec A = new TensorSpec("a", DType.U8, Shape.of(10));

  @TempDir Path folder;

  private Path target() {
    return folder.resolve("out.safetensors");
  }

  @Test
  void fileEqualsTheReferenceLibrarysByteForByte() throws IOException {
    Path original = write(folder, "golden.safetensors", golden("golden.safetensors"));
    try (Checkpoint in = Checkpoint.open(original)) {
      List<TensorEntry> entries = new ArrayList<>(in.tensors());
      Collections.shuffle(entries, new Random(1));
      List<TensorSpec> specs =
          entries.stream().map(t -> new TensorSpec(t.name(), t.dtype(), t.shape())).toList();
      try (SafetensorsWriter out = SafetensorsWriter.create(target(), specs, in.metadata())) {
        for (TensorEntry t : entries) {
          out.write(t.name(), 0, ByteBuffer.wrap(Fixtures.read(in, t)));
        }
        out.finish();
      }
    }
    assertThat(target()).hasSameBinaryContentAs(original);
  }

  @Test
  void piecesMayComeInAnyOrderAndTwice() throws IOException {
    try (SafetensorsWriter out = SafetensorsWriter.create(target(), List.of(A), Map.of())) {
      for (int at : new int[] {8, 2, 4, 4, 0, 6, 3}) {
        out.write("a", at, ByteBuffer.wrap(new byte[] {(byte) at, (byte) (at + 1)}));
      }
      assertThat(target()).doesNotExist();
      out.finish();
    }
    assertThat(Fixtures.readAll(target()).get("a")).containsExactly(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
  }

  @Test
  void fileWithAByteMissingIsNotFinished() throws IOException {
    TensorSpec b = new TensorSpec("b", DType.U8, Shape.of(2));
    try (SafetensorsWriter out = SafetensorsWriter.create(target(), List.of(A, b), Map.of())) {
      out.write("a", 0, ByteBuffer.allocate(10));
      out.write("b", 0, ByteBuffer.allocate(1));
      assertThatThrownBy(out::finish)
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("byte 1 of \"b\"");
    }
    assertThat(folder).isEmptyDirectory();
  }

  @Test
  void closedWithoutFinishLeavesWhatWasThere() throws IOException {
    write(folder, "out.safetensors", new byte[] {1, 2, 3});
    try (SafetensorsWriter out = SafetensorsWriter.create(target(), List.of(A), Map.of())) {
      out.write("a", 0, ByteBuffer.allocate(10));
    }
    assertThat(target()).hasBinaryContent(new byte[] {1, 2, 3});
    assertThat(folder.toFile().list()).hasSize(1);
  }

  @Test
  void finishReplacesWhatWasThereAndLeavesNothingElse() throws IOException {
    write(folder, "out.safetensors", new byte[] {1, 2, 3});
    try (SafetensorsWriter out = SafetensorsWriter.create(target(), List.of(A), Map.of())) {
      out.write("a", 0, ByteBuffer.allocate(10));
      out.finish();
    }
    assertThat(Fixtures.readAll(target())).containsOnlyKeys("a");
    assertThat(folder.toFile().list()).hasSize(1);
  }

  @Test
  void headerIsPaddedToEightBytes() throws IOException {
    for (int length = 0; length < 9; length++) {
      TensorSpec spec = new TensorSpec("n".repeat(length), DType.F32, Shape.of(0));
      try (SafetensorsWriter out = SafetensorsWriter.create(target(), List.of(spec), Map.of())) {
        out.finish();
      }
      assertThat(Files.size(target()) % 8).isZero();
      assertThat(Fixtures.readAll(target())).containsOnlyKeys(spec.name());
    }
  }

  @Test
  void whatCannotBeAFileIsRefusedBeforeOneIsMade() {
    TensorSpec f4 = new TensorSpec("x", DType.F4, Shape.of(3));
    TensorSpec reserved = new TensorSpec("__metadata__", DType.U8, Shape.of(1));
    TensorSpec huge = new TensorSpec("h", DType.U8, Shape.of(Long.MAX_VALUE));
    for (List<TensorSpec> bad :
        List.of(List.of(A, A), List.of(f4), List.of(reserved), List.of(A, huge))) {
      assertThatThrownBy(() -> SafetensorsWriter.create(target(), bad, Map.of()))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("out.safetensors");
    }
    assertThat(folder).isEmptyDirectory();
    Path nowhere = folder.resolve("none/out.safetensors");
    assertThatThrownBy(() -> SafetensorsWriter.create(nowhere, List.of(A), Map.of()))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("no folder");
  }

  @Test
  void writesOutsideATensorAreRefused() throws IOException {
    try (SafetensorsWriter out = SafetensorsWriter.create(target(), List.of(A), Map.of())) {
      assertThatThrownBy(() -> out.write("a", 9, ByteBuffer.allocate(2)))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> out.write("a", -1, ByteBuffer.allocate(1)))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> out.write("b", 0, ByteBuffer.allocate(1)))
          .isInstanceOf(IllegalArgumentException.class);
    }
  }
}
