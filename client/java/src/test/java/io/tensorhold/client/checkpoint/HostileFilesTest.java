package io.tensorhold.client.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.ShrinkingMode;
import net.jqwik.api.lifecycle.AfterContainer;
import net.jqwik.api.lifecycle.BeforeContainer;

/**
 * Valid files, damaged at random: whatever comes of it, opening and reading every tensor ends in a
 * {@link CheckpointException} or in a checkpoint whose tensors can be read whole, never in another
 * exception and never in memory that the file's size does not explain.
 */
class HostileFilesTest {
  private static Path folder;

  /** One damage: what to do, and where, as a fraction of the file. */
  record Damage(Kind kind, double where, String latin1) {
    byte[] with() {
      return latin1.getBytes(StandardCharsets.ISO_8859_1);
    }

    enum Kind {
      OVERWRITE,
      INSERT,
      DELETE,
      TRUNCATE,
      REPEAT
    }
  }

  @BeforeContainer
  static void makeFolder() throws IOException {
    folder = Files.createTempDirectory("hostile");
    Fixtures.write(folder, "typed.bin", Fixtures.golden("typed.bin"));
  }

  @AfterContainer
  static void removeFolder() throws IOException {
    try (var files = Files.list(folder)) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    Files.delete(folder);
  }

  @Provide
  Arbitrary<List<Damage>> damages() {
    Arbitrary<byte[]> tokens =
        Arbitraries.of(
                "9223372036854775807",
                "-1",
                "0",
                "[",
                "{",
                "}",
                "\"",
                ",",
                "null",
                "1e9",
                "\\u0000")
            .map(s -> s.getBytes(StandardCharsets.UTF_8));
    Arbitrary<byte[]> noise = Arbitraries.bytes().array(byte[].class).ofMinSize(1).ofMaxSize(9);
    Arbitrary<byte[]> ones =
        Arbitraries.of(
            new byte[] {-1, -1, -1, -1, -1, -1, -1, -1, -1, 1},
            new byte[] {-1, -1, -1, -1, 7},
            new byte[] {0},
            new byte[] {0x7f});
    Arbitrary<String> with =
        Arbitraries.oneOf(noise, tokens, ones)
            .map(bytes -> new String(bytes, StandardCharsets.ISO_8859_1));
    Arbitrary<Double> where = Arbitraries.doubles().between(0, 1);
    return net.jqwik.api.Combinators.combine(Arbitraries.of(Damage.Kind.class), where, with)
        .as(Damage::new)
        .list()
        .ofMinSize(1)
        .ofMaxSize(4);
  }

  @Property(tries = 3000, shrinking = ShrinkingMode.BOUNDED)
  void damagedSafetensors(@ForAll("damages") List<Damage> damages) throws IOException {
    openAndReadAll("fuzz.safetensors", Fixtures.golden("golden.safetensors"), damages);
  }

  @Property(tries = 3000, shrinking = ShrinkingMode.BOUNDED)
  void damagedOnnx(@ForAll("damages") List<Damage> damages) throws IOException {
    byte[] damaged = openAndReadAll("fuzz.onnx", Fixtures.golden("typed.onnx"), damages);
    Path path = Fixtures.write(folder, "fuzz.onnx", damaged);
    try (OnnxTemplate template = OnnxTemplate.open(path)) {
      byte[] filled = template.fill((name, offset, dst) -> dst.position(dst.limit()));
      Path again = Fixtures.write(folder, "filled.onnx", filled);
      try (Checkpoint checkpoint = Checkpoint.open(again)) {
        assertThat(checkpoint.tensors()).isEqualTo(template.tensors());
      }
    } catch (CheckpointException e) {
      assertThat(e).hasMessageContaining(".onnx: ");
    }
  }

  @Property(tries = 1000, shrinking = ShrinkingMode.BOUNDED)
  void damagedIndex(@ForAll("damages") List<Damage> damages) throws IOException {
    Fixtures.write(folder, "shard.safetensors", Fixtures.golden("golden.safetensors"));
    StringBuilder json = new StringBuilder("{\"metadata\":{\"total_size\":76},\"weight_map\":{");
    for (String name : Fixtures.readAll(folder.resolve("shard.safetensors")).keySet()) {
      json.append('"').append(name.replace("\"", "\\\"")).append("\":\"shard.safetensors\",");
    }
    json.setLength(json.length() - 1);
    byte[] index = json.append("}}").toString().getBytes(StandardCharsets.UTF_8);
    openAndReadAll("fuzz.safetensors.index.json", index, damages);
  }

  private static byte[] openAndReadAll(String name, byte[] valid, List<Damage> damages)
      throws IOException {
    byte[] damaged = valid;
    for (Damage damage : damages) {
      damaged = apply(damage, damaged);
    }
    Path path = Fixtures.write(folder, name, damaged);
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      for (TensorEntry tensor : checkpoint.tensors()) {
        assertThat(tensor.bytes()).isLessThanOrEqualTo(16L * (damaged.length + 1000));
        ByteBuffer bytes = ByteBuffer.allocate((int) tensor.bytes());
        checkpoint.read(tensor, 0, bytes);
        assertThat(bytes.hasRemaining()).isFalse();
      }
    } catch (CheckpointException e) {
      assertThat(e.getMessage()).hasSizeLessThan(2000);
    }
    return damaged;
  }

  private static byte[] apply(Damage damage, byte[] file) {
    int at = (int) (damage.where() * file.length);
    byte[] with = damage.with();
    return switch (damage.kind()) {
      case OVERWRITE -> {
        byte[] out = file.clone();
        System.arraycopy(with, 0, out, at, Math.min(with.length, file.length - at));
        yield out;
      }
      case INSERT -> join(Arrays.copyOf(file, at), with, Arrays.copyOfRange(file, at, file.length));
      case DELETE -> {
        int end = Math.min(file.length, at + with.length);
        yield join(Arrays.copyOf(file, at), Arrays.copyOfRange(file, end, file.length));
      }
      case TRUNCATE -> Arrays.copyOf(file, at);
      case REPEAT -> join(file, Arrays.copyOfRange(file, at, file.length));
    };
  }

  private static byte[] join(byte[]... parts) {
    int length = Arrays.stream(parts).mapToInt(p -> p.length).sum();
    ByteBuffer out = ByteBuffer.allocate(length);
    for (byte[] part : parts) {
      out.put(part);
    }
    return out.array();
  }
}
