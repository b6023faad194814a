package io.tensorhold.client.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** golden.pt was written by torch.save; golden_torch.json holds what PyTorch has in it. */
class TorchReadTest {
  @TempDir Path folder;
  private Path file;
  private JsonNode expected;

  @BeforeEach
  void write() throws IOException {
    file = Fixtures.write(folder, "golden.pt", Fixtures.golden("golden.pt"));
    expected = new ObjectMapper().readTree(Fixtures.golden("golden_torch.json"));
  }

  @Test
  void everyTensorHasTheBytesThatPyTorchHas() throws IOException {
    Fixtures.isGolden(file, expected);
  }

  @Test
  void dtypesAreThoseOfPyTorch() throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      assertThat(checkpoint.format()).isEqualTo("pt");
      Map.of(
              "w",
              DType.F32,
              "bf16",
              DType.BF16,
              "bool",
              DType.BOOL,
              "c64",
              DType.C64,
              "u16",
              DType.U16,
              "e4m3",
              DType.F8_E4M3,
              "e5m2",
              DType.F8_E5M2,
              "i64",
              DType.I64)
          .forEach(
              (name, dtype) ->
                  assertThat(Fixtures.entry(checkpoint, name).dtype()).as(name).isEqualTo(dtype));
    }
  }

  @Test
  void tensorsWithinAnotherOfTheSameStorageAreItsAliases() throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      assertThat(checkpoint.aliases())
          .containsExactly(
              new TensorAlias("tied", "w", 0),
              new TensorAlias("row", "w", 6),
              new TensorAlias("rows", "w", 6),
              new TensorAlias("flat", "w", 5));
    }
  }

  @Test
  void anyPieceOfAStridedTensorIsThePieceOfTheWhole() throws IOException {
    Random random = new Random(7);
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      for (String name : List.of("transposed", "permuted", "every.second", "column")) {
        TensorEntry tensor = Fixtures.entry(checkpoint, name);
        byte[] whole = Fixtures.read(checkpoint, tensor);
        for (int i = 0; i < 200; i++) {
          int from = random.nextInt(whole.length);
          int to = from + random.nextInt(whole.length - from + 1);
          ByteBuffer part = ByteBuffer.allocate(to - from);
          checkpoint.read(tensor, from, part);
          assertThat(part.array())
              .as("%s [%d, %d)", name, from, to)
              .isEqualTo(java.util.Arrays.copyOfRange(whole, from, to));
        }
      }
    }
  }

  @Test
  void whatIsWrittenIsReadBackWithItsAliases() throws IOException {
    Path copy = folder.resolve("copy.pt");
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      List<TensorSpec> specs =
          checkpoint.tensors().stream()
              .map(t -> new TensorSpec(t.name(), t.dtype(), t.shape()))
              .toList();
      try (TorchWriter writer = TorchWriter.create(copy, specs, checkpoint.aliases())) {
        List<String> aliases = checkpoint.aliases().stream().map(TensorAlias::name).toList();
        for (TensorEntry tensor : checkpoint.tensors()) {
          if (!aliases.contains(tensor.name())) {
            writer.write(tensor.name(), 0, ByteBuffer.wrap(Fixtures.read(checkpoint, tensor)));
          }
        }
        writer.finish();
      }
      try (Checkpoint again = Checkpoint.open(copy)) {
        assertThat(again.tensors()).isEqualTo(checkpoint.tensors());
        assertThat(again.aliases()).isEqualTo(checkpoint.aliases());
        for (TensorEntry tensor : again.tensors()) {
          assertThat(Fixtures.read(again, tensor)).isEqualTo(Fixtures.read(checkpoint, tensor));
        }
      }
    }
  }

  @Test
  void aFileThatIsNotFinishedIsNotThere() throws IOException {
    Path target = folder.resolve("half.pt");
    List<TensorSpec> specs = List.of(new TensorSpec("a", DType.U8, Shape.of(4)));
    try (TorchWriter writer = TorchWriter.create(target, specs, List.of())) {
      writer.write("a", 0, ByteBuffer.allocate(3));
      org.assertj.core.api.Assertions.assertThatThrownBy(writer::finish)
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("byte 3 of \"data/0\"");
    }
    assertThat(folder.toFile().list()).containsExactly("golden.pt");
  }
}
