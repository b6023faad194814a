package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.golden;
import static io.tensorhold.client.checkpoint.Fixtures.model;
import static io.tensorhold.client.checkpoint.Fixtures.refusal;
import static io.tensorhold.client.checkpoint.Fixtures.tensor;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.checkpoint.Fixtures.Proto;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.assertj.core.api.AbstractStringAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class OnnxRefusalTest {
  @TempDir Path outer;

  private Path file(byte[] content) throws IOException {
    return write(outer, "models/bad.onnx", content);
  }

  private AbstractStringAssert<?> refusalOf(Proto... initializers) throws IOException {
    return refusal(file(model(initializers)));
  }

  @Test
  void emptyFile() throws IOException {
    refusal(file(new byte[0])).contains("no graph");
  }

  @Test
  void truncationAnywhereInTheGraph() throws IOException {
    byte[] whole = new Proto().message(7, new Proto().message(5, tensor("w", 8, 2))).bytes();
    for (int length = 0; length < whole.length; length++) {
      refusal(file(Arrays.copyOf(whole, length))).isNotEmpty();
    }
    assertThat(Fixtures.readAll(file(whole))).containsOnlyKeys("w");
  }

  @Test
  void lengthPastTheEndOfTheFile() throws IOException {
    refusal(file(new Proto().raw((7 << 3) | 2).raw(1000).append(new byte[10]).bytes()))
        .contains("1000 bytes", "10 are left");
  }

  @Test
  void lengthPastTheEndOfTheMessageAroundIt() throws IOException {
    Proto tensor = new Proto().varint(1, 2).varint(2, 1).text(8, "w").raw((9 << 3) | 2).raw(9);
    refusalOf(tensor, tensor("later", 8, 2)).contains("\"w\"", "field 9", "9 bytes", "0 are left");
  }

  @Test
  void lengthWithTheSignBit() throws IOException {
    refusal(file(new Proto().raw((7 << 3) | 2).raw(-1).bytes())).contains("18446744073709551615");
  }

  @Test
  void numberThatDoesNotEnd() throws IOException {
    byte[] endless = new byte[20];
    Arrays.fill(endless, (byte) 0x80);
    refusal(file(new Proto().append(endless).bytes())).contains("more than 10 bytes");
  }

  @Test
  void fieldNumberZero() throws IOException {
    refusal(file(new byte[] {2, 0})).contains("tag 2");
  }

  @ParameterizedTest
  @ValueSource(ints = {3, 4, 6, 7})
  void wireTypesThatAreNotProto3(int wireType) throws IOException {
    refusal(file(new Proto().raw((20 << 3) | wireType).bytes())).contains("wire type " + wireType);
  }

  @Test
  void depthBombOfGroups() throws IOException {
    byte[] groups = new byte[1_000_000];
    Arrays.fill(groups, (byte) ((1 << 3) | 3));
    refusal(file(groups)).contains("wire type 3");
    refusal(file(new Proto().bytes(7, groups).bytes())).contains("graph", "wire type 3");
  }

  @Test
  void secondGraph() throws IOException {
    refusal(file(new Proto().bytes(7, new byte[0]).bytes(7, new byte[0]).bytes()))
        .contains("second graph");
  }

  @Test
  void rawDataThatIsNotItsDimensions() throws IOException {
    refusalOf(tensor("w", 8, 3)).contains("\"w\"", "8 bytes", "[3] of F32", "12 bytes");
    refusalOf(tensor("w", 8)).contains("\"w\"", "4 bytes");
  }

  @Test
  void tensorWithoutData() throws IOException {
    refusalOf(new Proto().varint(1, 2).varint(2, 1).text(8, "w")).contains("\"w\"", "no data");
  }

  @Test
  void initializerNameTwice() throws IOException {
    refusalOf(tensor("w", 8, 2), tensor("v", 4, 1), tensor("w", 4, 1))
        .contains("\"w\"", "there twice");
  }

  @Test
  void missingName() throws IOException {
    refusalOf(new Proto().varint(1, 1).varint(2, 1).bytes(9, new byte[4])).contains("no name");
    refusalOf(tensor("", 8, 2)).contains("no name");
  }

  @Test
  void nameThatIsNotUtf8() throws IOException {
    refusalOf(new Proto().varint(2, 1).bytes(8, new byte[] {(byte) 0xc3}).bytes(9, new byte[4]))
        .contains("name", "UTF-8");
  }

  @Test
  void negativeDimension() throws IOException {
    refusalOf(tensor("w", 8, -2)).contains("-2", "negative");
  }

  @Test
  void dimensionsThatOverflow() throws IOException {
    refusalOf(tensor("w", 0, 1L << 40, 1L << 40)).contains("\"w\"", "1099511627776");
    refusalOf(tensor("w", 0, 1L << 62)).contains("\"w\"", "4611686018427387904");
  }

  @Test
  void moreDimensionsThanTheLimit() throws IOException {
    long[] dims = new long[33];
    Arrays.fill(dims, 1);
    refusalOf(tensor("w", 4, dims)).contains("more than 32");
  }

  @ParameterizedTest
  @CsvSource({
    "0, UNDEFINED", "8, STRING", "15, COMPLEX128", "18, FLOAT8E4M3FNUZ", "20, FLOAT8E5M2FNUZ",
    "21, UINT4", "22, INT4", "25, UINT2", "26, INT2", "99, 99"
  })
  void elementTypesWithoutADtype(int type, String name) throws IOException {
    refusalOf(new Proto().varint(1, 1).varint(2, type).text(8, "w").bytes(9, new byte[1]))
        .contains("\"w\"", "data_type " + name);
  }

  @Test
  void missingElementType() throws IOException {
    refusalOf(new Proto().varint(1, 1).text(8, "w").bytes(9, new byte[4]))
        .contains("\"w\"", "UNDEFINED");
  }

  @Test
  void fieldsThatMayBeThereOnce() throws IOException {
    refusalOf(tensor("w", 8, 2).text(8, "v")).contains("name is there twice");
    refusalOf(tensor("w", 8, 2).varint(2, 1)).contains("data_type is there twice");
    refusalOf(tensor("w", 8, 2).bytes(9, new byte[8])).contains("raw_data is there twice");
  }

  @Test
  void typedElementsThatAreNotTheDimensions() throws IOException {
    Proto ints = new Proto().varint(1, 3).varint(2, 6).text(8, "w").bytes(5, new byte[] {1, 2});
    refusalOf(ints).contains("\"w\"", "2 elements", "need 3");
    Proto floats = new Proto().varint(1, 3).varint(2, 1).text(8, "w").bytes(4, new byte[11]);
    refusalOf(floats).contains("\"w\"", "11 bytes", "12 bytes");
  }

  @Test
  void typedFieldOfAnotherType() throws IOException {
    refusalOf(new Proto().varint(1, 2).varint(2, 1).text(8, "w").bytes(5, new byte[] {1, 2}))
        .contains("\"w\"", "typed field 5", "FLOAT");
    refusalOf(new Proto().varint(1, 1).varint(2, 1).text(8, "w").varint(4, 1))
        .contains("\"w\"", "wire type 0", "expected 5");
  }

  @ParameterizedTest
  @CsvSource({"3, 128", "3, -129", "2, 256", "2, -1", "5, 32768", "10, 65536", "9, 2"})
  void elementOutsideItsType(int type, long value) throws IOException {
    byte[] packed = new Proto().raw(0).raw(value).bytes();
    refusalOf(new Proto().varint(1, 2).varint(2, type).text(8, "w").bytes(5, packed))
        .contains("\"w\"", "element 1 is " + value);
  }

  @Test
  void dataInTwoPlaces() throws IOException {
    refusalOf(tensor("w", 8, 2).bytes(4, new byte[8])).contains("both raw_data");
    refusalOf(
            new Proto()
                .varint(1, 1)
                .varint(2, 1)
                .text(8, "w")
                .bytes(4, new byte[4])
                .bytes(5, new byte[] {1}))
        .contains("two typed fields");
  }

  @Test
  void piecesWithoutEnd() throws IOException {
    Proto tensor = new Proto().varint(1, 5000).varint(2, 6).text(8, "w");
    for (int i = 0; i < 5000; i++) {
      tensor.varint(5, 1);
    }
    refusalOf(tensor).contains("\"w\"", "4096");
  }

  @Test
  void sparseInitializer() throws IOException {
    refusal(file(new Proto().message(7, new Proto().bytes(15, new byte[0])).bytes()))
        .contains("sparse");
  }

  @Test
  void tensorInSegments() throws IOException {
    refusalOf(tensor("w", 8, 2).bytes(3, new byte[0])).contains("segments");
  }

  private static Proto external(String... keysAndValues) {
    Proto tensor = new Proto().varint(1, 2).varint(2, 1).text(8, "w").varint(14, 1);
    for (int i = 0; i < keysAndValues.length; i += 2) {
      tensor.message(13, new Proto().text(1, keysAndValues[i]).text(2, keysAndValues[i + 1]));
    }
    return tensor;
  }

  @Test
  void externalDataPastTheEndOfItsFile() throws IOException {
    write(outer, "models/w.bin", new byte[12]);
    refusalOf(external("location", "w.bin", "offset", "5")).contains("byte 5", "w.bin", "12 bytes");
    refusalOf(external("location", "w.bin", "offset", "9223372036854775807")).contains("12 bytes");
    assertThat(Fixtures.readAll(file(model(external("location", "w.bin", "offset", "4")))))
        .containsOnlyKeys("w");
  }

  @ParameterizedTest
  @CsvSource({"offset, -1", "offset, 1e3", "length, 7", "length, 9", "length, x"})
  void externalExtentsThatAreWrong(String key, String value) throws IOException {
    write(outer, "models/w.bin", new byte[12]);
    refusalOf(external("location", "w.bin", key, value)).contains("\"w\"", value);
  }

  @Test
  void externalDataOutsideTheFolder() throws IOException {
    Path secret = write(outer, "secret", new byte[8]);
    refusalOf(external("location", "../secret")).contains("'..'");
    refusalOf(external("location", secret.toAbsolutePath().toString())).contains("relative");
    Files.createSymbolicLink(outer.resolve("models/link"), secret);
    refusalOf(external("location", "link")).contains("leaves");
    refusalOf(external("location", "gone")).contains("does not exist");
    refusalOf(external()).contains("without a location");
    refusalOf(external("location", "a", "location", "b")).contains("there twice");
  }

  @Test
  void externalAndHereAtOnce() throws IOException {
    refusalOf(external("location", "w.bin").bytes(9, new byte[8])).contains("says external");
    refusalOf(tensor("w", 8, 2).message(13, new Proto().text(1, "location").text(2, "x")))
        .contains("does not say external");
    refusalOf(tensor("w", 8, 2).varint(14, 2)).contains("data_location 2");
  }

  @Test
  void truncationOfTheGoldenModelNeverPasses() throws IOException {
    write(outer, "models/typed.bin", golden("typed.bin"));
    byte[] whole = golden("typed.onnx");
    int accepted = 0;
    for (int length = 0; length < whole.length; length++) {
      try (Checkpoint checkpoint = Checkpoint.open(file(Arrays.copyOf(whole, length)))) {
        // What follows the graph (its opset) may be cut at a field's end: the tensors are whole.
        assertThat(checkpoint.tensors()).hasSize(20);
        accepted++;
      } catch (CheckpointException e) {
        assertThat(e).hasMessageContaining("bad.onnx");
      }
    }
    assertThat(accepted).isLessThan(5);
  }
}
