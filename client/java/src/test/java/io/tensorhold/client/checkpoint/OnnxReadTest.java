package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.entry;
import static io.tensorhold.client.checkpoint.Fixtures.golden;
import static io.tensorhold.client.checkpoint.Fixtures.model;
import static io.tensorhold.client.checkpoint.Fixtures.tensor;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.checkpoint.Fixtures.Proto;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class OnnxReadTest {
  @TempDir Path folder;

  private Path goldenModel() throws IOException {
    write(folder, "typed.bin", golden("typed.bin"));
    return write(folder, "typed.onnx", golden("typed.onnx"));
  }

  @ParameterizedTest
  @CsvSource({
    "f32, F32, 0000c03f000000c000005040",
    "f64, F64, 9c7500883ce4377e00000000000000c0",
    "i8, I8, 80007f",
    "u8, U8, 00ff",
    "i16, I16, 0080ff7f",
    "u16, U16, 0000ffff",
    "i32, I32, 00000080ffffffffffffff7f",
    "u32, U32, 00000000ffffffff",
    "i64, I64, 0000000000000080ffffffffffffffffffffffffffffff7f",
    "u64, U64, 0000000000000000ffffffffffffffff",
    "bool, BOOL, 0100",
    "f16, F16, 003c00c0",
    "bf16, BF16, 803f00c0",
    "e4m3, F8_E4M3, 38c0",
    "e5m2, F8_E5M2, 3cc0",
    "c64, C64, 0000803f00000040",
    "raw, F32, 000000000000803f000000400000404000008040" + "0000a040",
    "scalar, F32, 00001041",
    "external, F32, 000000000000803f0000004000004040",
  })
  void valuesOfTheReferenceLibraryBecomeLittleEndianBytes(String name, DType dtype, String hex)
      throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(goldenModel())) {
      TensorEntry tensor = entry(checkpoint, name);
      assertThat(tensor.dtype()).isEqualTo(dtype);
      assertThat(HexFormat.of().formatHex(Fixtures.read(checkpoint, tensor))).isEqualTo(hex);
    }
  }

  @Test
  void initializersAreListedAndConstantNodesAreNot() throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(goldenModel())) {
      assertThat(checkpoint.format()).isEqualTo("onnx");
      assertThat(checkpoint.metadata())
          .containsOnly(Map.entry("author", "nobody"), Map.entry("producer_name", "golden.py"));
      assertThat(checkpoint.tensors())
          .hasSize(20)
          .contains(
              new TensorEntry("raw", DType.F32, Shape.of(2, 3), 24),
              new TensorEntry("scalar", DType.F32, Shape.of(), 4),
              new TensorEntry("empty", DType.F32, Shape.of(0, 3), 0))
          .extracting(TensorEntry::name)
          .startsWith("f32", "f64")
          .doesNotContain("not.a.weight");
    }
  }

  @Test
  void varintsAreReadFromAnyOffsetInPiecesOfAnySize() throws IOException {
    int n = 40_000;
    Proto packed = new Proto();
    byte[] expected = new byte[8 * n];
    for (int i = 0; i < n; i++) {
      long value = (long) i * i * i * (i % 2 == 0 ? 1 : -1);
      packed.raw(value);
      ByteBuffer.wrap(expected).order(java.nio.ByteOrder.LITTLE_ENDIAN).putLong(8 * i, value);
    }
    Proto tensor = new Proto().varint(1, n).varint(2, 7).text(8, "ids").bytes(7, packed.bytes());
    try (Checkpoint checkpoint = Checkpoint.open(write(folder, "v.onnx", model(tensor)))) {
      TensorEntry ids = checkpoint.tensors().getFirst();
      assertThat(Fixtures.read(checkpoint, ids)).isEqualTo(expected);
      for (int offset : new int[] {0, 3, 8 * 16_383 + 5, 8 * 16_384, 8 * 39_999 + 7, 8 * n}) {
        ByteBuffer piece = ByteBuffer.allocate(Math.min(21, 8 * n - offset));
        checkpoint.read(ids, offset, piece);
        assertThat(piece.array())
            .isEqualTo(Arrays.copyOfRange(expected, offset, offset + piece.capacity()));
      }
    }
  }

  @Test
  void elementsInSeveralPiecesAndNotPackedAreOneTensor() throws IOException {
    Proto ints =
        new Proto()
            .varint(5, 1)
            .bytes(5, new byte[] {2, 3})
            .bytes(5, new byte[0])
            .varint(5, -4)
            .varint(1, 4)
            .varint(2, 6)
            .text(8, "ints");
    Proto floats =
        new Proto()
            .bytes(4, new byte[] {0, 0, 0, 1})
            .raw((4 << 3) | 5)
            .append(new byte[] {0, 0, 0, 2})
            .bytes(4, new byte[] {0, 0, 0, 3})
            .bytes(1, new byte[] {3})
            .varint(2, 1)
            .text(8, "floats");
    Map<String, byte[]> read = Fixtures.readAll(write(folder, "p.onnx", model(ints, floats)));
    assertThat(read.get("ints"))
        .containsExactly(1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff);
    assertThat(read.get("floats")).containsExactly(0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3);
  }

  @Test
  void negativeInt32MayBeWrittenWith32Bits() throws IOException {
    Proto packed = new Proto().raw(0xffff_ffffL).raw(-1);
    Proto tensor = new Proto().varint(1, 2).varint(2, 3).text(8, "x").bytes(5, packed.bytes());
    assertThat(Fixtures.readAll(write(folder, "n.onnx", model(tensor))).get("x"))
        .containsExactly(0xff, 0xff);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2000})
  void nestingThatIsNotEnteredCostsNothing(int depth) throws IOException {
    Proto subgraph = new Proto().text(2, "innermost");
    // Node, attribute, graph, node …: built from the inside.
    for (int i = 0; i < depth; i++) {
      subgraph = new Proto().message(1, new Proto().message(5, new Proto().message(6, subgraph)));
    }
    Proto graph = subgraph.message(5, tensor("w", 8, 2));
    Path path = write(folder, "deep.onnx", new Proto().message(7, graph).bytes());
    assertThat(Fixtures.readAll(path)).containsOnlyKeys("w");
  }

  @Test
  void float4IsTwoElementsAByte() throws IOException {
    Proto tensor = new Proto().varint(1, 4).varint(2, 23).text(8, "x").bytes(9, new byte[] {1, 2});
    try (Checkpoint checkpoint = Checkpoint.open(write(folder, "f4.onnx", model(tensor)))) {
      assertThat(checkpoint.tensors())
          .containsExactly(new TensorEntry("x", DType.F4, Shape.of(4), 2));
    }
  }
}
