package io.tensorhold.client.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Every weight of all-MiniLM-L6-v2 under ggml's codecs is what gguf makes of it. */
class MiniLmCodecTest {
  /** Digests are those that src/test/python/minilm.py prints. */
  @ParameterizedTest
  @CsvSource({
    "Q8_0, 82da99de51efbeb3d19e99eb51e4ff77c86e11489895190825b5d9a10823d532",
    "Q4_0, fb4f05f0d4be7200e3e47f0071d77eea03973711515233e7dc6cb2bc734e5983"
  })
  void everyWeightIsGgufsBitForBit(Codec codec, String expected, @TempDir Path folder)
      throws Exception {
    Path model = folder.resolve("all-minilm-l6-v2.onnx");
    try (var in = MiniLmCodecTest.class.getResourceAsStream("/all-minilm-l6-v2.onnx")) {
      Files.copy(in, model);
    }
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    long values = 0;
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      for (TensorEntry tensor : checkpoint.tensors()) {
        if (tensor.dtype() == DType.F32) {
          byte[] f32 = new byte[Math.toIntExact(tensor.bytes())];
          checkpoint.read(tensor, 0, ByteBuffer.wrap(f32));
          int n = f32.length / 4;
          byte[] coded = new byte[Math.toIntExact(codec.bytes(DType.F32, n))];
          codec.encode(
              Kernels.best(), MemorySegment.ofArray(f32), 0, MemorySegment.ofArray(coded), 0, n);
          digest.update(coded);
          values += n;
        }
      }
    }
    assertThat(values).isEqualTo(22_713_216);
    assertThat(HexFormat.of().formatHex(digest.digest())).isEqualTo(expected);
  }
}
