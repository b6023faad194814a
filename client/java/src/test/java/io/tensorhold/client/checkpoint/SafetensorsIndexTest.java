package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.refusal;
import static io.tensorhold.client.checkpoint.Fixtures.safetensors;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SafetensorsIndexTest {
  private static final String FIRST = "model-00001-of-00002.safetensors";
  private static final String SECOND = "model-00002-of-00002.safetensors";

  @TempDir Path outer;
  private Path folder;

  @BeforeEach
  void twoShards() throws IOException {
    folder = Files.createDirectory(outer.resolve("checkpoint"));
    write(folder, FIRST, shard("a"));
    write(folder, SECOND, shard("b"));
  }

  private static byte[] shard(String tensor) {
    return safetensors(
        "{\"" + tensor + "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
  }

  private Path index(String weightMap) throws IOException {
    String json = "{'metadata':{'total_size':8},'weight_map':" + weightMap + "}";
    return write(
        folder,
        "model.safetensors.index.json",
        json.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void filesOfAnIndexAreOneCheckpoint() throws IOException {
    Path index = index("{'b':'" + SECOND + "','a':'" + FIRST + "'}");
    try (Checkpoint checkpoint = Checkpoint.open(index)) {
      assertThat(checkpoint.tensors()).extracting(TensorEntry::name).containsExactly("a", "b");
      assertThat(checkpoint.metadata()).containsEntry("total_size", "8");
      assertThat(Fixtures.read(checkpoint, checkpoint.tensors().get(1)))
          .containsExactly(0, 1, 2, 3);
    }
    assertThat(Fixtures.readAll(folder)).containsOnlyKeys("a", "b");
  }

  @Test
  void filesInAFolderBelowAreAllowed() throws IOException {
    write(folder, "shards/one.safetensors", shard("a"));
    assertThat(Fixtures.readAll(index("{'a':'shards/one.safetensors'}"))).containsOnlyKeys("a");
  }

  @Test
  void absoluteName() throws IOException {
    Path inside = folder.resolve(FIRST).toAbsolutePath();
    refusal(index("{'a':'" + inside + "'}")).contains("relative");
  }

  @ParameterizedTest
  @CsvSource({"../x.safetensors", "shards/../../x.safetensors", "..", "a/../" + FIRST})
  void nameWithDotDot(String name) throws IOException {
    write(outer, "x.safetensors", shard("a"));
    refusal(index("{'a':'" + name + "'}")).contains("'..'");
  }

  @Test
  void linkThatLeavesTheFolder() throws IOException {
    Path secret = write(outer, "secret.safetensors", shard("a"));
    Files.createSymbolicLink(folder.resolve("link.safetensors"), secret);
    refusal(index("{'a':'link.safetensors'}")).contains("link.safetensors", "leaves");
    Files.createSymbolicLink(folder.resolve("up"), outer);
    refusal(index("{'a':'up/secret.safetensors'}")).contains("leaves");
  }

  @Test
  void linkWithinTheFolderIsAllowed() throws IOException {
    Files.createSymbolicLink(folder.resolve("link.safetensors"), Path.of(FIRST));
    assertThat(Fixtures.readAll(index("{'a':'link.safetensors'}"))).containsOnlyKeys("a");
  }

  @Test
  void missingFile() throws IOException {
    refusal(index("{'a':'gone.safetensors'}")).contains("gone.safetensors", "does not exist");
  }

  @Test
  void tensorAbsentFromTheFileNamed() throws IOException {
    refusal(index("{'a':'" + FIRST + "','c':'" + FIRST + "'}"))
        .contains("\"c\"", "is not in the file", FIRST);
  }

  @Test
  void tensorThatTheIndexDoesNotName() throws IOException {
    refusal(index("{'a':'" + FIRST + "','c':'" + SECOND + "'}"))
        .contains("\"b\"", SECOND, "not in the index");
  }

  @Test
  void nameInTwoFiles() throws IOException {
    String both =
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
            + "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}";
    write(folder, SECOND, safetensors(both, 4));
    refusal(index("{'a':'" + FIRST + "','b':'" + SECOND + "'}")).contains("\"a\"", FIRST, SECOND);
  }

  @Test
  void nameTwiceInTheIndex() throws IOException {
    refusal(index("{'a':'" + FIRST + "','a':'" + SECOND + "'}")).containsIgnoringCase("duplicate");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {"{'a':1}|does not name a file", "[]|not an object", "null|not an object"})
  void weightMapThatIsNotNames(String map, String problem) throws IOException {
    refusal(index(map)).contains(problem);
  }

  @Test
  void indexWithoutWeightMap() throws IOException {
    refusal(write(folder, "x.safetensors.index.json", "{}".getBytes(StandardCharsets.UTF_8)))
        .contains("weight_map");
  }

  @Test
  void shardThatIsDamaged() throws IOException {
    write(folder, SECOND, new byte[5]);
    Path index = index("{'a':'" + FIRST + "','b':'" + SECOND + "'}");
    assertThat(org.assertj.core.api.Assertions.catchThrowable(() -> Checkpoint.open(index)))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(SECOND);
  }
}
