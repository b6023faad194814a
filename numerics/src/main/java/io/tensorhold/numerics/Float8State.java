package io.tensorhold.numerics;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * Optimizer state in one byte a value: 8-bit floats that share an exponent in groups of 256. On
 * disk: do not change.
 *
 * <pre>
 * group     u16 base, then a byte for each of its up to 256 values
 * signed    bit 7 sign, bits 0–6 code 0–127
 * unsigned  code 0–255
 * value     0 if the code is 0, else the f32 whose bits are (base + code) · 2²⁰, with the sign
 * </pre>
 *
 * <p>So a value has f32's sign and exponent and 3 bits of its mantissa, 8 values an octave: the
 * error is below 1/8 of the value. Base is chosen so that the group's largest value has the highest
 * code or the one below: 15.9 octaves signed, 31.9 unsigned. It changes in whole codes, so that a
 * value once rounded is not rounded again when it does.
 *
 * <p>Rounding is stochastic, up with a probability equal to the bits cut off, so that the mean of
 * what is stored is the value. Otherwise a running mean would stand still: Adam's changes by a
 * thousandth a step. Random bits are those of {@link StochasticRounding}, for a seed and the
 * value's place. A signed value below the smallest code becomes that or 0, likewise; an unsigned
 * one becomes it always, because a second moment of 0 would make a step without bound.
 */
final class Float8State {
  /** Values that share a base. */
  static final int GROUP = 256;

  static final int SHIFT = 20;
  static final int HIGHEST_SIGNED = 127;
  static final int HIGHEST_UNSIGNED = 255;

  /** Bits of the largest finite f32, cut to what a code keeps. */
  static final int LARGEST = 0x7f7;

  static final int INFINITY = 0x7f80_0000;

  private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(LE);
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(LE);

  private Float8State() {}

  /** Bytes of so many values. */
  static long bytes(long values) {
    return values + 2 * Math.ceilDiv(values, GROUP);
  }

  static void encode(
      boolean signed,
      long seed,
      MemorySegment f32,
      long f32Off,
      MemorySegment dst,
      long dstOff,
      int n) {
    for (int first = 0; first < n; first += GROUP) {
      int length = Math.min(GROUP, n - first);
      long from = f32Off + 4L * first;
      int largest = 0;
      for (int i = 0; i < length; i++) {
        largest = Math.max(largest, f32.get(INT, from + 4L * i) & Integer.MAX_VALUE);
      }
      int base = base(largest, signed);
      dst.set(SHORT, dstOff, (short) base);
      codes(signed, seed, first, base, f32, from, dst, dstOff + 2, length);
      dstOff += 2 + length;
    }
  }

  /** Encodes values under a base that is known. */
  static void codes(
      boolean signed,
      long seed,
      int first,
      int base,
      MemorySegment f32,
      long from,
      MemorySegment dst,
      long to,
      int n) {
    float smallest = Float.intBitsToFloat((base + 1) << SHIFT);
    for (int i = 0; i < n; i++) {
      int bits = f32.get(INT, from + 4L * i);
      int code =
          code(
              signed,
              bits & Integer.MAX_VALUE,
              StochasticRounding.bits(seed, first + i) >>> 12,
              base,
              smallest);
      if (signed && code != 0) {
        code |= (bits >>> 24) & 0x80;
      }
      dst.set(JAVA_BYTE, to + i, (byte) code);
    }
  }

  private static int code(boolean signed, int magnitude, int random, int base, float smallest) {
    if (magnitude >= INFINITY) {
      return (magnitude >>> SHIFT) - base;
    }
    if (magnitude >= Float.floatToRawIntBits(smallest)) {
      return Math.min((magnitude + random) >>> SHIFT, LARGEST) - base;
    }
    if (!signed) {
      return magnitude == 0 ? 0 : 1;
    }
    float share = Float.intBitsToFloat(magnitude) / smallest;
    return random * 0x1p-20f < share ? 1 : 0;
  }

  /** The base of a group whose largest magnitude has these bits. */
  static int base(int largest, boolean signed) {
    int highest = signed ? HIGHEST_SIGNED : HIGHEST_UNSIGNED;
    return Math.max(0, (largest >>> SHIFT) + 1 - highest);
  }

  static void decode(
      boolean signed, MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
    for (int first = 0; first < n; first += GROUP) {
      int length = Math.min(GROUP, n - first);
      int base = Short.toUnsignedInt(src.get(SHORT, srcOff));
      values(signed, base, src, srcOff + 2, f32, f32Off + 4L * first, length);
      srcOff += 2 + length;
    }
  }

  /** Decodes values under a base that is known. */
  static void values(
      boolean signed, int base, MemorySegment src, long from, MemorySegment f32, long to, int n) {
    for (int i = 0; i < n; i++) {
      int coded = Byte.toUnsignedInt(src.get(JAVA_BYTE, from + i));
      int code = signed ? coded & 0x7f : coded;
      int sign = signed ? (coded & 0x80) << 24 : 0;
      f32.set(INT, to + 4L * i, code == 0 ? 0 : ((base + code) << SHIFT) | sign);
    }
  }
}
