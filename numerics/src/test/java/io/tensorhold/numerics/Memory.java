package io.tensorhold.numerics;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;

/** Segments for tests: filled, read back and copied to where a test wants them. */
final class Memory {
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Bit patterns at which conversions and arithmetic have their edges. */
  private static final int[] HARD = {
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0001,
    0xffbf_ffff,
    0x7fff_ffff,
    0x3f00_0000,
    0xbf00_0000,
    0x3eff_ffff,
    0x3fc0_0000,
    0x477f_e000,
    0x477f_efff,
    0x477f_f000,
    0x4780_0000,
    0x3880_0000,
    0x387f_ffff,
    0x3300_0000,
    0x3300_0001,
    0x32ff_ffff,
    0x3380_0000
  };

  private Memory() {}

  static MemorySegment ofInts(int... bits) {
    MemorySegment segment = MemorySegment.ofArray(new byte[4 * bits.length]);
    for (int i = 0; i < bits.length; i++) {
      segment.set(INT, 4L * i, bits[i]);
    }
    return segment;
  }

  static MemorySegment ofFloats(float... values) {
    int[] bits = new int[values.length];
    Arrays.setAll(bits, i -> Float.floatToRawIntBits(values[i]));
    return ofInts(bits);
  }

  static int[] ints(MemorySegment segment) {
    int[] bits = new int[Math.toIntExact(segment.byteSize() / 4)];
    Arrays.setAll(bits, i -> segment.get(INT, 4L * i));
    return bits;
  }

  static float[] floats(MemorySegment segment) {
    int[] bits = ints(segment);
    float[] values = new float[bits.length];
    for (int i = 0; i < bits.length; i++) {
      values[i] = Float.intBitsToFloat(bits[i]);
    }
    return values;
  }

  static byte[] bytes(MemorySegment segment) {
    return segment.toArray(ValueLayout.JAVA_BYTE);
  }

  static String hex(MemorySegment segment) {
    return HexFormat.of().formatHex(bytes(segment));
  }

  /** Half ordinary values, a quarter any bits, a quarter the hard ones. */
  static MemorySegment hard(Random random, int n) {
    int[] bits = new int[n];
    for (int i = 0; i < n; i++) {
      bits[i] =
          switch (random.nextInt(4)) {
            case 0 -> HARD[random.nextInt(HARD.length)];
            case 1 -> random.nextInt();
            default -> Float.floatToRawIntBits((float) random.nextGaussian());
          };
    }
    return ofInts(bits);
  }

  /** Ordinary values only. */
  static MemorySegment gaussian(Random random, int n, double deviation) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = (float) (random.nextGaussian() * deviation);
    }
    return ofFloats(values);
  }

  /** A copy that starts {@code shift} bytes into its memory, with as many behind its end. */
  static MemorySegment shifted(MemorySegment source, int shift, boolean nativeMemory) {
    long size = source.byteSize() + 2L * shift;
    MemorySegment copy =
        nativeMemory
            ? Arena.ofAuto().allocate(size, 64)
            : MemorySegment.ofArray(new byte[Math.toIntExact(size)]);
    copy.fill((byte) 0x5a);
    MemorySegment.copy(source, 0, copy, shift, source.byteSize());
    return copy;
  }

  /** The lines of a golden file beside the tests. */
  static List<String> golden(String file) {
    try (InputStream in = Memory.class.getResourceAsStream(file)) {
      if (in == null) {
        throw new IllegalStateException("no golden file " + file);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The f32 bit patterns after the first word of a line. */
  static MemorySegment words(String line) {
    String[] words = line.split(" ", -1);
    int[] bits = new int[words.length - 1];
    Arrays.setAll(bits, i -> Integer.parseUnsignedInt(words[i + 1], 16));
    return ofInts(bits);
  }
}
