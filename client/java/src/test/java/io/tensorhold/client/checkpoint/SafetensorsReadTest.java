package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.entry;
import static io.tensorhold.client.checkpoint.Fixtures.golden;
import static io.tensorhold.client.checkpoint.Fixtures.safetensors;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsReadTest {
  @TempDir Path folder;

  @Test
  void fileOfTheReferenceLibraryIsReadInTheOrderOfItsBytes() throws IOException {
    Path path = write(folder, "golden.safetensors", golden("golden.safetensors"));
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      assertThat(checkpoint.format()).isEqualTo("safetensors");
      assertThat(checkpoint.metadata()).containsExactly(Map.entry("format", "np"));
      assertThat(checkpoint.tensors())
          .contains(
              new TensorEntry("a.weight", DType.F32, Shape.of(2, 3), 24),
              new TensorEntry("z.scalar", DType.F32, Shape.of(), 4),
              new TensorEntry("e.empty", DType.F64, Shape.of(0, 4), 0),
              new TensorEntry("f.fp8", DType.F8_E4M3, Shape.of(4), 4))
          .extracting(TensorEntry::name)
          .startsWith("d.ids", "e.empty", "a.weight")
          .contains("e.é\"quoted\"")
          .hasSize(10);
      ByteBuffer ids =
          ByteBuffer.wrap(Fixtures.read(checkpoint, entry(checkpoint, "d.ids")))
              .order(ByteOrder.LITTLE_ENDIAN);
      assertThat(ids.getLong()).isEqualTo(-1);
      assertThat(ids.getLong()).isEqualTo(1L << 62);
    }
  }

  @Test
  void piecesAreReadFromAnyOffset() throws IOException {
    String header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[100],\"data_offsets\":[0,100]}}";
    Path path = write(folder, "a.safetensors", safetensors(header, 100));
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      TensorEntry a = checkpoint.tensors().getFirst();
      ByteBuffer piece = ByteBuffer.allocateDirect(8).position(3);
      checkpoint.read(a, 95, piece);
      assertThat(piece.flip().position(3).get()).isEqualTo((byte) 95);
      assertThatThrownBy(() -> checkpoint.read(a, 96, ByteBuffer.allocate(5)))
          .isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> checkpoint.read(a, -1, ByteBuffer.allocate(1)))
          .isInstanceOf(IllegalArgumentException.class);
      TensorEntry forged = new TensorEntry("a", DType.U8, Shape.of(200), 200);
      assertThatThrownBy(() -> checkpoint.read(forged, 150, ByteBuffer.allocate(1)))
          .isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void leadingAndTrailingWhiteSpaceAndUnknownKeysAreAllowed() throws IOException {
    String header =
        " \n{\"a\":{\"dtype\":\"U8\",\"new\":{\"x\":[1]},\"shape\":[],\"data_offsets\":[0,1]}}  ";
    Path path = write(folder, "a.safetensors", safetensors(header, 1));
    assertThat(Fixtures.readAll(path)).containsOnlyKeys("a");
  }

  @Test
  void fileWithoutTensorsIsAllowed() throws IOException {
    assertThat(Fixtures.readAll(write(folder, "a.safetensors", safetensors("{}", 0)))).isEmpty();
  }

  @Test
  void emptyTensorsMayShareAnOffset() throws IOException {
    String empty = "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]}";
    String header =
        "{\"b\":"
            + empty
            + ",\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"c\":"
            + empty
            + "}";
    Path path = write(folder, "a.safetensors", safetensors(header, 2));
    assertThat(Fixtures.readAll(path)).containsOnlyKeys("a", "b", "c");
  }

  @Test
  void fileThatShrinksWhileItIsOpenIsAnErrorOfTheRead() throws IOException {
    Path path = write(folder, "golden.safetensors", golden("golden.safetensors"));
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      Files.write(path, new byte[10]);
      TensorEntry tensor = entry(checkpoint, "a.weight");
      assertThatThrownBy(() -> checkpoint.read(tensor, 0, ByteBuffer.allocate(24)))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("changed while it was being read");
    }
  }

  @Test
  void folderStandsForTheCheckpointInIt() throws IOException {
    byte[] file = golden("golden.safetensors");
    write(folder, "only/weights.safetensors", file);
    assertThat(Fixtures.readAll(folder.resolve("only"))).hasSize(10);
    write(folder, "usual/other.safetensors", new byte[3]);
    write(folder, "usual/model.safetensors", file);
    assertThat(Fixtures.readAll(folder.resolve("usual"))).hasSize(10);
    write(folder, "two/a.safetensors", file);
    write(folder, "two/b.safetensors", file);
    Fixtures.refusal(folder.resolve("two")).contains("several", "a.safetensors", "b.safetensors");
    Files.createDirectory(folder.resolve("none"));
    Fixtures.refusal(folder.resolve("none")).contains("holds no");
  }
}
