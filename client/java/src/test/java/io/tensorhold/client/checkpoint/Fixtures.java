package io.tensorhold.client.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.assertj.core.api.AbstractStringAssert;

/** Files made by hand, byte by byte, so that they can be wrong in exactly one way. */
final class Fixtures {
  private Fixtures() {}

  /** A safetensors file with this header and so many data bytes 0, 1, 2, … */
  static byte[] safetensors(String header, int dataBytes) {
    return safetensors(header.getBytes(StandardCharsets.UTF_8), dataBytes);
  }

  static byte[] safetensors(byte[] header, int dataBytes) {
    ByteBuffer file =
        ByteBuffer.allocate(8 + header.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
    file.putLong(header.length).put(header);
    for (int i = 0; i < dataBytes; i++) {
      file.put((byte) i);
    }
    return file.array();
  }

  static Path write(Path folder, String name, byte[] content) throws IOException {
    Path file = folder.resolve(name);
    Files.createDirectories(file.getParent());
    return Files.write(file, content);
  }

  /** The bytes of a golden file made by golden.py. */
  static byte[] golden(String name) throws IOException {
    try (var in = Fixtures.class.getResourceAsStream("/checkpoint/" + name)) {
      return in.readAllBytes();
    }
  }

  /** Holds all tensors of a file, in order, against what the package that wrote it says of them. */
  static void isGolden(Path file, JsonNode expected) throws IOException {
    List<String> names = new ArrayList<>();
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      for (TensorEntry tensor : checkpoint.tensors()) {
        JsonNode golden = expected.get(tensor.name());
        assertThat(golden).as(tensor.name()).isNotNull();
        List<Long> dims = new ArrayList<>();
        golden.get("shape").forEach(dim -> dims.add(dim.asLong()));
        assertThat(tensor.shape().dims()).containsExactly(dims.toArray(new Long[0]));
        assertThat(HexFormat.of().formatHex(read(checkpoint, tensor)))
            .as(tensor.name())
            .isEqualTo(golden.get("bytes").asText());
        names.add(tensor.name());
      }
    }
    assertThat(names).containsExactlyElementsOf(() -> expected.fieldNames());
  }

  static byte[] read(Checkpoint checkpoint, TensorEntry tensor) {
    ByteBuffer bytes = ByteBuffer.allocate(Math.toIntExact(tensor.bytes()));
    try {
      checkpoint.read(tensor, 0, bytes);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    assertThat(bytes.hasRemaining()).isFalse();
    return bytes.array();
  }

  static Map<String, byte[]> readAll(Path path) throws IOException {
    Map<String, byte[]> all = new TreeMap<>();
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      for (TensorEntry tensor : checkpoint.tensors()) {
        all.put(tensor.name(), read(checkpoint, tensor));
      }
    }
    return all;
  }

  static TensorEntry entry(Checkpoint checkpoint, String name) {
    return checkpoint.tensors().stream()
        .filter(t -> t.name().equals(name))
        .findFirst()
        .orElseThrow();
  }

  /** Opens a file that must be refused, and says how. */
  static AbstractStringAssert<?> refusal(Path path) {
    Throwable refused = catchThrowable(() -> Checkpoint.open(path).close());
    assertThat(refused).isInstanceOf(CheckpointException.class);
    return assertThat(refused.getMessage()).contains(path.getFileName().toString());
  }

  /** Protobuf written field by field. */
  static final class Proto {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    Proto varint(int field, long value) {
      raw(field << 3);
      return raw(value);
    }

    Proto bytes(int field, byte[] value) {
      raw((field << 3) | 2);
      raw(value.length);
      out.writeBytes(value);
      return this;
    }

    Proto text(int field, String value) {
      return bytes(field, value.getBytes(StandardCharsets.UTF_8));
    }

    Proto message(int field, Proto value) {
      return bytes(field, value.bytes());
    }

    /** A bare varint. */
    Proto raw(long value) {
      long rest = value;
      while (rest >>> 7 != 0) {
        out.write((int) ((rest & 0x7f) | 0x80));
        rest >>>= 7;
      }
      out.write((int) rest);
      return this;
    }

    Proto append(byte[] bytes) {
      out.writeBytes(bytes);
      return this;
    }

    byte[] bytes() {
      return out.toByteArray();
    }
  }

  /** A float tensor "w" of the given dims with so many raw bytes 0, 1, 2, … */
  static Proto tensor(String name, int rawBytes, long... dims) {
    Proto tensor = new Proto();
    for (long dim : dims) {
      tensor.varint(1, dim);
    }
    byte[] raw = new byte[rawBytes];
    for (int i = 0; i < rawBytes; i++) {
      raw[i] = (byte) i;
    }
    return tensor.varint(2, 1).text(8, name).bytes(9, raw);
  }

  /** A model whose graph has these initializers, with something before, between and after. */
  static byte[] model(Proto... initializers) {
    Proto graph = new Proto().message(1, new Proto().text(4, "Identity")).text(2, "graph");
    for (Proto initializer : initializers) {
      graph.message(5, initializer);
    }
    graph.text(10, "documentation");
    return new Proto().varint(1, 8).message(7, graph).message(8, new Proto().varint(2, 17)).bytes();
  }
}
