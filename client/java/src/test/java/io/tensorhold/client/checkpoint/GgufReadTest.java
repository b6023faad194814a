package io.tensorhold.client.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** golden.gguf was written by the gguf package; golden_gguf.json holds what it reads in it. */
class GgufReadTest {
  @TempDir Path folder;
  private Path file;
  private JsonNode expected;

  @BeforeEach
  void write() throws IOException {
    file = Fixtures.write(folder, "golden.gguf", Fixtures.golden("golden.gguf"));
    expected = new ObjectMapper().readTree(Fixtures.golden("golden_gguf.json"));
  }

  @Test
  void everyTensorHasTheBytesThatTheGgufPackageReads() throws IOException {
    Fixtures.isGolden(file, expected);
  }

  @Test
  void blocksThatACodecIsAreTakenUnderItAndDecodeToTheValuesOfTheGgufPackage() throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      for (String name : List.of("q8", "q4")) {
        TensorEntry tensor = Fixtures.entry(checkpoint, name);
        assertThat(tensor.dtype()).isEqualTo(DType.F32);
        assertThat(tensor.codec()).isEqualTo(name.equals("q8") ? Codec.Q8_0 : Codec.Q4_0);
        int n = (int) tensor.shape().elements();
        byte[] floats = new byte[4 * n];
        MemorySegment blocks = MemorySegment.ofArray(Fixtures.read(checkpoint, tensor));
        tensor.codec().decode(Kernels.best(), blocks, 0, MemorySegment.ofArray(floats), 0, n);
        assertThat(HexFormat.of().formatHex(floats))
            .isEqualTo(expected.get(name).get("values").asText());
      }
    }
  }

  @Test
  void otherBlocksHaveADtypeThatIsNotComputedWith() throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      assertThat(checkpoint.tensors())
          .filteredOn(tensor -> tensor.name().startsWith("kept."))
          .hasSize(5)
          .allMatch(t -> t.dtype().name().equals("GGML_" + t.name().substring(5)))
          .allMatch(t -> t.codec() == Codec.RAW && t.shape().equals(Shape.of(2, 512)));
    }
  }

  @Test
  void entriesTravelAlongAsAGgufFileWithoutTensors() throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      TensorEntry entries = checkpoint.attachments().getFirst();
      byte[] whole = Fixtures.read(checkpoint, entries);
      for (int from = 0; from < 40; from++) { // pieces that begin in the head and behind it
        ByteBuffer piece = ByteBuffer.allocate(30);
        checkpoint.read(entries, from, piece);
        assertThat(piece.array()).isEqualTo(java.util.Arrays.copyOfRange(whole, from, from + 30));
      }
      Path alone = Fixtures.write(folder, "entries.gguf", whole);
      try (Checkpoint without = Checkpoint.open(alone)) {
        assertThat(without.tensors()).isEmpty();
        assertThat(Fixtures.read(without, without.attachments().getFirst())).isEqualTo(whole);
      }
    }
  }

  @Test
  void whatIsWrittenAgainIsTheSameFile() throws IOException {
    Path copy = folder.resolve("copy.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      Map<TensorSpec, Codec> specs = new LinkedHashMap<>();
      for (TensorEntry t : checkpoint.tensors()) {
        specs.put(new TensorSpec(t.name(), t.dtype(), t.shape()), t.codec());
      }
      byte[] entries = Fixtures.read(checkpoint, checkpoint.attachments().getFirst());
      try (GgufWriter writer = GgufWriter.create(copy, ByteBuffer.wrap(entries), specs)) {
        for (TensorEntry tensor : checkpoint.tensors()) {
          writer.write(tensor.name(), 0, ByteBuffer.wrap(Fixtures.read(checkpoint, tensor)));
        }
        writer.finish();
      }
    }
    assertThat(Files.mismatch(file, copy)).isEqualTo(-1);
  }

  @Test
  void whatGgufHasNotIsRefusedBeforeAnythingIsWritten() {
    Path target = folder.resolve("no.gguf");
    for (TensorSpec spec :
        List.of(
            new TensorSpec("flags", DType.BOOL, Shape.of(3)),
            new TensorSpec("deep", DType.F32, Shape.of(1, 1, 1, 1, 1)))) {
      Codec stored = Codec.nativeOf(spec.dtype());
      org.assertj.core.api.Assertions.assertThatThrownBy(
              () -> GgufWriter.create(target, ByteBuffer.allocate(0), Map.of(spec, stored)))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("\"" + spec.name() + "\"");
    }
    assertThat(folder.toFile().list()).containsExactly("golden.gguf");
  }

  @Test
  void rowsThatAreNotWholeBlocksAreWrittenInTheirDtype() throws IOException {
    Path target = folder.resolve("rows.gguf");
    assertThat(
            GgufWriter.codec(target, new TensorSpec("a", DType.F32, Shape.of(2, 64)), Codec.Q8_0))
        .isEqualTo(Codec.Q8_0);
    assertThat(
            GgufWriter.codec(target, new TensorSpec("a", DType.F32, Shape.of(64, 2)), Codec.Q8_0))
        .isEqualTo(Codec.F32);
    assertThat(GgufWriter.codec(target, new TensorSpec("a", DType.BF16, Shape.of(64)), Codec.NF4))
        .isEqualTo(Codec.BF16);
  }
}
