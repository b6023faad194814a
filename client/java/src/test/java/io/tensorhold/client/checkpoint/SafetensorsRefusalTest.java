package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.refusal;
import static io.tensorhold.client.checkpoint.Fixtures.safetensors;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import org.assertj.core.api.AbstractStringAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsRefusalTest {
  @TempDir Path folder;

  private AbstractStringAssert<?> refusalOf(byte[] file) throws IOException {
    return refusal(write(folder, "bad.safetensors", file));
  }

  private AbstractStringAssert<?> refusalOf(String header, int dataBytes) throws IOException {
    return refusalOf(safetensors(header.replace('\'', '"'), dataBytes));
  }

  @Test
  void fileShorterThanTheLengthField() throws IOException {
    refusalOf(new byte[7]).contains("7 bytes", "at least 8");
  }

  @Test
  void headerLengthPastTheFileEnd() throws IOException {
    byte[] file = safetensors("{}", 0);
    file[0] = 3;
    refusalOf(file).contains("header length 3", "2 bytes follow");
  }

  @Test
  void headerLengthOverTheLimit() throws IOException {
    byte[] file =
        ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN).putLong(100_000_001).array();
    refusalOf(file).contains("100000001", "100000000");
  }

  @Test
  void headerLengthWithTheSignBit() throws IOException {
    byte[] file = ByteBuffer.allocate(64).putLong(-1).array();
    refusalOf(file).contains("18446744073709551615", "100000000");
  }

  @Test
  void headerThatIsNotUtf8() throws IOException {
    byte[] header = "{\"a\": {}}".getBytes(StandardCharsets.UTF_8);
    header[2] = (byte) 0xff;
    refusalOf(safetensors(header, 0)).contains("UTF-8");
  }

  @ParameterizedTest
  @ValueSource(strings = {"\\ud800", "\\udc00", "x\\ud800y"})
  void nameThatIsHalfACharacter(String name) throws IOException {
    refusalOf("{'" + name + "':{'dtype':'U8','shape':[1],'data_offsets':[0,1]}}", 1)
        .containsPattern("Unicode|surrogate");
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "{]", "[]", "null", "{'a'}", "nonsense"})
  void headerThatIsNotAJsonObject(String header) throws IOException {
    refusalOf(header, 0).contains("JSON");
  }

  @Test
  void textAfterTheHeadersObject() throws IOException {
    refusalOf("{} {}", 0).contains("after its JSON object");
  }

  @ParameterizedTest
  @ValueSource(strings = {"1", "null", "[]", "{'a':'b'}", "true"})
  void metadataValueThatIsNotAString(String value) throws IOException {
    refusalOf("{'__metadata__':{'k':" + value + "}}", 0).contains("__metadata__", "\"k\"");
  }

  @Test
  void metadataThatIsNotAnObject() throws IOException {
    refusalOf("{'__metadata__':[]}", 0).contains("__metadata__", "an array");
  }

  @Test
  void tensorNameTwice() throws IOException {
    String tensor = "'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1]}";
    refusalOf("{" + tensor + "," + tensor + "}", 1).containsIgnoringCase("duplicate").contains("a");
  }

  @Test
  void keyTwiceInATensor() throws IOException {
    refusalOf("{'a':{'dtype':'U8','dtype':'I8','shape':[1],'data_offsets':[0,1]}}", 1)
        .containsIgnoringCase("duplicate");
  }

  @Test
  void metadataKeyTwice() throws IOException {
    refusalOf("{'__metadata__':{'k':'1','k':'2'}}", 0).containsIgnoringCase("duplicate");
  }

  @Test
  void beginAfterEnd() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[1],'data_offsets':[1,0]}}", 1)
        .contains("\"a\"", "begin 1", "end 0");
  }

  @Test
  void negativeOffset() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[1],'data_offsets':[-1,0]}}", 1)
        .contains("\"a\"", "negative", "-1");
  }

  @Test
  void offsetPastALong() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[1],'data_offsets':[0,9223372036854775808]}}", 1)
        .contains("\"a\"", "9223372036854775808");
  }

  @Test
  void offsetThatIsNotWhole() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1.0]}}", 1)
        .contains("\"a\"", "1.0", "whole number");
  }

  @ParameterizedTest
  @ValueSource(strings = {"[]", "[0]", "[0,1,1]", "1", "null"})
  void offsetsThatAreNotAPair(String offsets) throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[1],'data_offsets':" + offsets + "}}", 1)
        .contains("\"a\"", "data_offsets");
  }

  @Test
  void gapBetweenTensors() throws IOException {
    refusalOf(
            "{'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1]},"
                + "'b':{'dtype':'U8','shape':[1],'data_offsets':[2,3]}}",
            3)
        .contains("\"b\"", "gap", "byte 2", "expected 1");
  }

  @Test
  void gapBeforeTheFirstTensor() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[1],'data_offsets':[1,2]}}", 2).contains("\"a\"", "gap");
  }

  @Test
  void tensorsThatOverlap() throws IOException {
    refusalOf(
            "{'a':{'dtype':'U8','shape':[2],'data_offsets':[0,2]},"
                + "'b':{'dtype':'U8','shape':[2],'data_offsets':[1,3]}}",
            3)
        .contains("\"b\"", "overlaps", "byte 1", "expected 2");
  }

  @Test
  void twoTensorsOfTheSameBytes() throws IOException {
    refusalOf(
            "{'a':{'dtype':'U8','shape':[2],'data_offsets':[0,2]},"
                + "'b':{'dtype':'U8','shape':[2],'data_offsets':[0,2]}}",
            2)
        .contains("overlaps");
  }

  @Test
  void productOfDimensionsThatOverflows() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[4294967296,4294967296],'data_offsets':[0,0]}}", 0)
        .contains("\"a\"", "4294967296");
  }

  @Test
  void sizeInBytesThatOverflows() throws IOException {
    refusalOf("{'a':{'dtype':'F64','shape':[4611686018427387904],'data_offsets':[0,0]}}", 0)
        .contains("\"a\"", "overflows");
  }

  @Test
  void sizeThatIsNotTheOffsets() throws IOException {
    refusalOf("{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,7]}}", 7)
        .contains("\"a\"", "7 bytes", "[2] of F32", "8");
  }

  @Test
  void bitsThatDoNotFillABytes() throws IOException {
    refusalOf("{'a':{'dtype':'F4','shape':[3],'data_offsets':[0,2]}}", 2)
        .contains("\"a\"", "whole bytes");
  }

  @Test
  void bytesAfterTheLastTensor() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1]}}", 2)
        .contains("after the last tensor", "byte 1", "at 2");
  }

  @Test
  void dataWithoutTensors() throws IOException {
    refusalOf("{}", 1).contains("after the last tensor");
  }

  @Test
  void truncatedData() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[4],'data_offsets':[0,4]}}", 3)
        .contains("truncated", "byte 4", "at 3");
  }

  @Test
  void everyTruncationOfAValidFile() throws IOException {
    byte[] whole = Fixtures.golden("golden.safetensors");
    for (int length = 0; length < whole.length; length++) {
      refusalOf(Arrays.copyOf(whole, length)).isNotEmpty();
    }
  }

  @Test
  void dtypeThatNobodyKnows() throws IOException {
    refusalOf("{'a':{'dtype':'F7','shape':[1],'data_offsets':[0,1]}}", 1)
        .contains("\"a\"", "\"F7\"");
  }

  @ParameterizedTest
  @ValueSource(strings = {"dtype", "shape", "data_offsets"})
  void missingKey(String key) throws IOException {
    String tensor = "{'dtype':'U8','shape':[1],'data_offsets':[0,1]}".replace(key, "other");
    refusalOf("{'a':" + tensor + "}", 1).contains("\"a\"", key + " is missing");
  }

  @ParameterizedTest
  @ValueSource(strings = {"[-1]", "['1']", "[null]", "{}", "[[1]]", "1"})
  void shapeThatIsNotNumbers(String shape) throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':" + shape + ",'data_offsets':[0,1]}}", 1)
        .contains("\"a\"", "shape");
  }

  @Test
  void moreDimensionsThanTheLimit() throws IOException {
    String shape = "1,".repeat(32) + "1";
    refusalOf("{'a':{'dtype':'U8','shape':[" + shape + "],'data_offsets':[0,1]}}", 1)
        .contains("\"a\"", "more than 32");
  }

  @Test
  void nestingBomb() throws IOException {
    refusalOf("{'a':{'x':" + "[".repeat(1_000_000), 0).contains("JSON", "nesting");
    refusalOf("{'a':" + "[".repeat(1_000_000), 0).contains("\"a\"", "an array");
    refusalOf("{'a':{'x':" + "{'x':".repeat(1_000_000), 0).contains("JSON");
  }

  @Test
  void keyBombThatEverybodyWouldSkip() throws IOException {
    StringBuilder keys = new StringBuilder("{'a':{'x':{");
    for (int i = 0; i <= 2_131_072; i++) {
      keys.append(i == 0 ? "'" : ",'").append(i).append("':0");
    }
    refusalOf(keys.append("}}}").toString(), 0).contains("more than 2131072 keys");
  }

  @Test
  void numberBomb() throws IOException {
    refusalOf("{'a':{'dtype':'U8','shape':[" + "9".repeat(1_000_000) + "]}}", 0).contains("JSON");
  }

  @Test
  void messageFitForATerminalWhateverTheName() throws IOException {
    refusalOf("{'\\u001b[31m" + "x".repeat(5000) + "':{'dtype':'U8'}}", 0)
        .doesNotContain("\u001b")
        .contains("\\u001b[31m")
        .hasSizeLessThan(600);
  }

  @Test
  void missingFileAndUnknownKinds() throws IOException {
    refusal(folder.resolve("none.safetensors")).contains("no such file");
    refusal(folder.resolve("none.what")).contains("no such file");
    refusal(write(folder, "model.h5", new byte[1])).contains("unknown kind", "*.safetensors");
    assertThat(folder.toFile().list()).contains("model.h5");
  }
}
