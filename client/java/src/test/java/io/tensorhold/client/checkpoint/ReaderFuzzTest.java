package io.tensorhold.client.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * Good files and the hostile corpus, damaged at random: no input may crash a reader, keep it for a
 * second or have it allocate more than 8 times its size and 1 MiB for buffers. {@code
 * -Dtensorhold.fuzz=1000000} runs so many inputs for each reader; {@code client/java/fuzz} has
 * Jazzer find its own.
 */
class ReaderFuzzTest {
  private static final int INPUTS = Integer.getInteger("tensorhold.fuzz", 4000);
  private static final long SEED = Long.getLong("tensorhold.fuzz.seed", 20261125);
  private static final long FIXED_BYTES = 1 << 20;
  private static final int LARGEST = 1 << 16;
  private static final long[] NUMBERS = {
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    31,
    32,
    33,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    1000,
    65535,
    65536,
    Integer.MAX_VALUE,
    0x8000_0000L,
    0xffff_ffffL,
    Long.MAX_VALUE,
    Long.MIN_VALUE,
    -1,
    -8,
    1L << 61
  };

  private interface Target {
    void test(byte[] file) throws IOException;
  }

  @Test
  void damagedSafetensors() throws IOException {
    run(
        "safetensors",
        List.of(Fixtures.golden("golden.safetensors")),
        ReaderFuzz.Safetensors::fuzzerTestOneInput);
  }

  @Test
  void damagedOnnx() throws IOException {
    run("onnx", List.of(Fixtures.golden("typed.onnx")), ReaderFuzz.Onnx::fuzzerTestOneInput);
  }

  @Test
  void damagedGguf() throws IOException {
    List<byte[]> seeds = new ArrayList<>(List.of(Fixtures.golden("golden.gguf")));
    GgufCorpus.all().values().forEach(hostile -> seeds.add(hostile.file()));
    run("gguf", seeds, ReaderFuzz.Gguf::fuzzerTestOneInput);
  }

  @Test
  void damagedTorch() throws IOException {
    List<byte[]> seeds = new ArrayList<>();
    byte[] golden = Fixtures.golden("golden.pt");
    // Damaged pickles count half: in an archive their checksum gives them away.
    for (Hostile hostile : TorchCorpus.all().values()) {
      seeds.add(hostile.file());
      seeds.add(pickle(golden));
    }
    seeds.add(golden);
    run("pt", seeds, ReaderFuzz.Torch::fuzzerTestOneInput);
  }

  /** The pickle of a file of torch.save: its first record. */
  static byte[] pickle(byte[] file) {
    ByteBuffer local = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    int start = 30 + local.getShort(26) + local.getShort(28);
    int end = start;
    while (!(file[end] == '.' && file[end - 1] == 'u')) {
      end++;
    }
    return Arrays.copyOfRange(file, start, end + 1);
  }

  private static void run(String reader, List<byte[]> all, Target target) throws IOException {
    List<byte[]> seeds = all.stream().filter(seed -> seed.length <= LARGEST).toList();
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long thread = Thread.currentThread().threadId();
    Random random = new Random(SEED);
    for (byte[] seed : seeds) {
      target.test(seed); // classes are loaded before anything is measured
    }
    long slowest = 0;
    long most = 0;
    for (int i = 0; i < INPUTS; i++) {
      byte[] input = seeds.get(random.nextInt(seeds.size()));
      for (int times = 1 + random.nextInt(4); times > 0; times--) {
        input = damaged(input, random);
      }
      long bytes = threads.getThreadAllocatedBytes(thread);
      long start = System.nanoTime();
      try {
        target.test(input);
      } catch (RuntimeException | Error e) {
        throw new AssertionError(
            "%s: input %d of seed %d, %s".formatted(reader, i, SEED, shown(input)), e);
      }
      slowest = Math.max(slowest, System.nanoTime() - start);
      long taken = threads.getThreadAllocatedBytes(thread) - bytes;
      assertThat(taken)
          .as("%s: bytes allocated for input %d of seed %d, %s", reader, i, SEED, shown(input))
          .isLessThanOrEqualTo(8L * input.length + FIXED_BYTES);
      most = Math.max(most, taken - 8L * input.length);
    }
    System.out.printf(
        "fuzz %s: %d inputs, the slowest took %d ms, allocated at most %d KiB and 8 times the size%n",
        reader, INPUTS, slowest / 1_000_000, most >> 10);
  }

  private static String shown(byte[] input) {
    return HexFormat.of().formatHex(input, 0, Math.min(input.length, 4096));
  }

  private static byte[] damaged(byte[] file, Random random) {
    int at = file.length == 0 ? 0 : random.nextInt(file.length);
    int length = 1 + random.nextInt(16);
    return switch (random.nextInt(7)) {
      case 0 -> number(file, at, random);
      case 1 -> {
        byte[] out = file.clone();
        if (out.length > 0) {
          out[at] ^= (byte) (1 << random.nextInt(8));
        }
        yield out;
      }
      case 2 -> {
        byte[] noise = new byte[length];
        random.nextBytes(noise);
        yield spliced(file, at, at, noise);
      }
      case 3 -> spliced(file, at, Math.min(file.length, at + length), new byte[0]);
      case 4 -> Arrays.copyOf(file, at);
      case 5 -> {
        int from = file.length == 0 ? 0 : random.nextInt(file.length);
        yield spliced(
            file, at, at, Arrays.copyOfRange(file, from, Math.min(file.length, from + 8 * length)));
      }
      default -> {
        byte[] out = file.clone();
        if (out.length > 0) {
          out[at] = (byte) random.nextInt();
        }
        yield out;
      }
    };
  }

  /** A number that is likely to be wrong, of 1, 2, 4 or 8 bytes. */
  private static byte[] number(byte[] file, int at, Random random) {
    byte[] out = file.clone();
    long value = NUMBERS[random.nextInt(NUMBERS.length)];
    int width = 1 << random.nextInt(4);
    for (int i = 0; i < width && at + i < out.length; i++) {
      out[at + i] = (byte) (value >>> (8 * i));
    }
    return out;
  }

  private static byte[] spliced(byte[] file, int from, int to, byte[] with) {
    byte[] out = new byte[from + with.length + file.length - to];
    System.arraycopy(file, 0, out, 0, from);
    System.arraycopy(with, 0, out, from, with.length);
    System.arraycopy(file, to, out, from + with.length, file.length - to);
    return out;
  }
}
