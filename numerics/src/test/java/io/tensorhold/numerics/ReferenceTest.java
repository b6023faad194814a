package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Codecs give the bytes of the implementations that they name: gguf, ml_dtypes, NumPy. What those
 * make of 10⁷ values is kept as digests; where Python has them, new values are compared too.
 */
class ReferenceTest {
  private static final int COUNT = Math.ceilDiv(10_000_000, 256) * 256;
  private static final int CHUNK = 1 << 20;
  private static final EnumSet<Codec> COMPARED =
      EnumSet.complementOf(EnumSet.of(Codec.F32, Codec.TOPK, Codec.SIGN1, Codec.RAW));

  /** Digests by what they are of, such as {@code "q8_0 normal"}. */
  private static final Map<String, String> DIGESTS =
      Memory.golden("codecs.txt").stream()
          .map(line -> line.split(" ", 3))
          .collect(Collectors.toMap(words -> words[0] + " " + words[1], words -> words[2]));

  @ParameterizedTest
  @EnumSource
  void tenMillionValuesAreTheReferencesBytes(Distribution distribution) throws Exception {
    String name = distribution.name().toLowerCase(Locale.ROOT);
    MessageDigest input = sha256();
    Map<Codec, MessageDigest> outputs =
        COMPARED.stream().collect(Collectors.toMap(codec -> codec, codec -> sha256()));
    MemorySegment f32 = MemorySegment.ofArray(new byte[4 * CHUNK]);
    for (long first = 0; first < COUNT; first += CHUNK) {
      int count = (int) Math.min(CHUNK, COUNT - first);
      distribution.fill(f32, first, count);
      input.update(Memory.bytes(f32.asSlice(0, 4L * count)));
      for (Codec codec : COMPARED) {
        byte[] simd = encode(Kernels.best(), codec, f32, count);
        assertThat(Arrays.equals(simd, encode(Kernels.scalar(), codec, f32, count))).isTrue();
        outputs.get(codec).update(simd);
      }
    }
    assertThat(hex(input)).as("the same input").isEqualTo(DIGESTS.get("input " + name));
    for (Codec codec : COMPARED) {
      String expected = DIGESTS.get(codec.label() + " " + name);
      assertThat(hex(outputs.get(codec))).as(codec.label()).isEqualTo(expected);
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"F16", "BF16", "FP8_E4M3"})
  void everyBf16ValueIsTheReferences(Codec codec) {
    MemorySegment f32 = MemorySegment.ofArray(new byte[4 << 16]);
    for (int i = 0; i < 1 << 16; i++) {
      f32.set(ScalarKernels.INT, 4L * i, i << 16);
    }
    byte[] coded;
    if (codec == Codec.FP8_E4M3) { // its elements, without a scale
      coded = new byte[1 << 16];
      for (int i = 0; i < 1 << 16; i++) {
        coded[i] = ScalarFp8.encode(Float.intBitsToFloat(i << 16));
      }
    } else {
      coded = encode(Kernels.best(), codec, f32, 1 << 16);
    }
    if (codec == Codec.F16) {
      // NumPy and we keep a NaN's payload differently: both are quiet NaNs of the same sign.
      coded = withOneNan(coded);
    }
    MessageDigest digest = sha256();
    digest.update(coded);
    assertThat(hex(digest)).isEqualTo(DIGESTS.get("every " + codec.label()));
  }

  private static byte[] withOneNan(byte[] halves) {
    for (int i = 0; i < halves.length; i += 2) {
      int half = (halves[i] & 0xff) | halves[i + 1] << 8;
      if ((half & 0x7fff) > 0x7c00) {
        halves[i] = 0;
        halves[i + 1] = (byte) (half < 0 ? 0xfe : 0x7e);
      }
    }
    return halves;
  }

  @ParameterizedTest
  @ValueSource(strings = {"f16", "bf16", "q8_0", "fp8_e4m3", "q4_0", "nf4", "q8_linear"})
  void newValuesAreTheReferencesBytesToo(String label, @TempDir Path folder) throws Exception {
    String python = python();
    long seed = new Random().nextLong();
    int n = 1_000_003; // which no group divides
    MemorySegment x = values(new Random(seed), n);
    Path input = folder.resolve("x");
    Path output = folder.resolve("y");
    Files.write(input, Memory.bytes(x));
    Process process =
        new ProcessBuilder(python, "src/test/python/codecs.py", "encode", label)
            .redirectInput(input.toFile())
            .redirectOutput(output.toFile())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    assertThat(process.waitFor()).isZero();
    byte[] coded = encode(Kernels.best(), Codec.ofName(label), x, n);
    assertThat(Arrays.mismatch(coded, Files.readAllBytes(output)))
        .as("first byte that differs, seed %d", seed)
        .isEqualTo(-1);
  }

  /** Normal values of sizes from 2⁻⁴⁰ to 2¹⁴, each size for a while. */
  private static MemorySegment values(Random random, int n) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = (float) Math.scalb(random.nextGaussian(), i / 500 % 55 - 40);
    }
    return Memory.ofFloats(values);
  }

  /** A Python that has the references; without one the test is left out and says so. */
  private static String python() throws IOException, InterruptedException {
    String python =
        System.getProperty(
            "tensorhold.python", System.getenv().getOrDefault("TENSORHOLD_PYTHON", "python3"));
    try {
      Process process =
          new ProcessBuilder(python, "-c", "import gguf, ml_dtypes, numpy")
              .redirectErrorStream(true)
              .start();
      process.getInputStream().readAllBytes();
      if (process.waitFor() == 0) {
        return python;
      }
    } catch (IOException e) {
      // said below
    }
    String reason =
        "Not compared with gguf and ml_dtypes: %s does not have them; name a Python that does in"
            + " TENSORHOLD_PYTHON";
    System.err.println(reason.formatted(python));
    return abort(reason.formatted(python));
  }

  private static byte[] encode(Kernels k, Codec codec, MemorySegment f32, int n) {
    byte[] coded = new byte[Math.toIntExact(codec.bytes(DType.F32, n))];
    codec.encode(k, f32, 0, MemorySegment.ofArray(coded), 0, n);
    return coded;
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String hex(MessageDigest digest) {
    return HexFormat.of().formatHex(digest.digest());
  }
}
