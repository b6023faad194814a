package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The topk codec: of a block only the elements of the largest magnitude, zeros for the rest. Aji
 * and Heafield, "Sparse Communication for Distributed Gradient Descent", 2017; Lin et al., "Deep
 * Gradient Compression", 2018.
 *
 * <pre>
 * +---------------+--------------------+---------------------+
 * | u32 count     | count × u16 gap    | count × bf16 value  |
 * +---------------+--------------------+---------------------+
 * </pre>
 *
 * Entry i is the element at index(i) = index(i − 1) + 1 + gap(i), index(−1) being −1: indices
 * ascend and none comes twice, whatever the gaps are. Where two elements lie farther apart than a
 * gap can say, entries with the value 0 stand between them.
 */
public final class TopK {
  /** Bytes before the entries. */
  public static final int HEADER_BYTES = 4;

  /** Bytes of an entry. */
  public static final int ENTRY_BYTES = 4;

  private static final int MOST_GAP = 0xffff;

  /** Bits of a magnitude are looked at from the top, so many at a time: 31 in all. */
  private static final int[] DIGITS = {11, 10, 10};

  private TopK() {}

  /** Elements that are sent of {@code n} at a fraction: at least one of a block that has any. */
  public static int count(int n, double fraction) {
    return Math.clamp(Math.round(n * fraction), Math.min(1, n), n);
  }

  /** The most bytes that {@link #encode} writes for {@code k} of {@code n} elements. */
  public static long mostBytes(int n, int k) {
    return HEADER_BYTES + (long) ENTRY_BYTES * (k + n / (MOST_GAP + 1));
  }

  /**
   * Encodes the {@code k} of {@code n} f32 values with the largest magnitude, of equals those with
   * the lowest index, values rounded to bf16. A NaN counts as larger than infinity.
   *
   * @param dst has room for {@link #mostBytes}
   * @return bytes written
   */
  public static int encode(
      MemorySegment f32, long f32Off, int n, int k, MemorySegment dst, long dstOff) {
    Objects.checkFromIndexSize(f32Off, 4L * n, f32.byteSize());
    Objects.checkFromIndexSize(dstOff, mostBytes(n, k), dst.byteSize());
    Objects.checkFromIndexSize(0, k, n);
    int[] indices = indices(f32, f32Off, n, k);
    long gap = dstOff + HEADER_BYTES;
    long value = gap + 2L * indices.length;
    int last = -1;
    for (int index : indices) {
      boolean filler = index < 0;
      int at = filler ? -1 - index : index;
      dst.set(ScalarKernels.SHORT, gap, (short) (at - last - 1));
      dst.set(
          ScalarKernels.SHORT,
          value,
          filler ? 0 : ScalarHalf.toBf16(f32.get(ScalarKernels.INT, f32Off + 4L * at)));
      gap += 2;
      value += 2;
      last = at;
    }
    dst.set(ScalarKernels.INT, dstOff, indices.length);
    return Math.toIntExact(value - dstOff);
  }

  /** Indices of the k largest, ascending; −1 − i says that a filler is needed at i. */
  private static int[] indices(MemorySegment f32, long off, int n, int k) {
    int[] found = new int[k + n / (MOST_GAP + 1)];
    if (k == 0) {
      return new int[0];
    }
    Threshold threshold = threshold(f32, off, n, k);
    int equals = threshold.taken;
    int count = 0;
    int last = -1;
    for (int i = 0; i < n; i++) {
      int magnitude = f32.get(ScalarKernels.INT, off + 4L * i) & Integer.MAX_VALUE;
      boolean equal = magnitude == threshold.magnitude && equals > 0;
      if (equal || magnitude > threshold.magnitude) {
        equals -= equal ? 1 : 0;
        while (i - last - 1 > MOST_GAP) {
          last += 1 + MOST_GAP;
          found[count++] = -1 - last;
        }
        found[count++] = i;
        last = i;
      }
    }
    return Arrays.copyOf(found, count);
  }

  /** The k-th largest magnitude's bits, and how many elements with just these are taken. */
  private record Threshold(int magnitude, int taken) {}

  /** By a radix select: three counts of the elements, whatever they are; nothing is sorted. */
  private static Threshold threshold(MemorySegment f32, long off, int n, int k) {
    int prefix = 0;
    int known = 0; // bits of the prefix
    int left = k;
    for (int bits : DIGITS) {
      int shift = 31 - known - bits;
      int[] counts = new int[1 << bits];
      for (int i = 0; i < n; i++) {
        int magnitude = f32.get(ScalarKernels.INT, off + 4L * i) & Integer.MAX_VALUE;
        if (magnitude >>> (shift + bits) == prefix) {
          counts[(magnitude >>> shift) & (counts.length - 1)]++;
        }
      }
      int digit = counts.length - 1;
      while (counts[digit] < left) {
        left -= counts[digit--];
      }
      prefix = (prefix << bits) | digit;
      known += bits;
    }
    return new Threshold(prefix, left);
  }

  /**
   * What is wrong with a payload for a block of {@code n} elements, or null. To be asked of every
   * payload that came from outside before it is decoded.
   */
  public static @Nullable String fault(MemorySegment payload, int n) {
    if (payload.byteSize() < HEADER_BYTES) {
      return "topk has a count of 4 bytes: value=%d bytes".formatted(payload.byteSize());
    }
    int count = payload.get(ScalarKernels.INT, 0);
    if (count < 0 || count > n) {
      return "count of topk: value=%d allowed=0..%d".formatted(Integer.toUnsignedLong(count), n);
    }
    long expected = HEADER_BYTES + (long) ENTRY_BYTES * count;
    if (payload.byteSize() != expected) {
      return "topk of count %d takes %d bytes: value=%d"
          .formatted(count, expected, payload.byteSize());
    }
    long index = -1;
    for (int i = 0; i < count; i++) {
      index += 1 + gap(payload, 0, i);
      if (index >= n) {
        return "index of entry %d of topk: value=%d allowed=0..%d".formatted(i, index, n - 1);
      }
    }
    return null;
  }

  private static int gap(MemorySegment payload, long off, int i) {
    return payload.get(ScalarKernels.SHORT, off + HEADER_BYTES + 2L * i) & MOST_GAP;
  }

  /** The loops of the codec: a scatter, which vectors would not make faster. */
  static final class Kernel implements CodecKernel {
    static final Kernel INSTANCE = new Kernel();

    private Kernel() {}

    @Override
    public void encode(MemorySegment f32, long f32Off, MemorySegment dst, long dstOff, int n) {
      throw new UnsupportedOperationException("topk needs to know how many: use TopK.encode");
    }

    @Override
    public void decode(MemorySegment src, long srcOff, MemorySegment f32, long f32Off, int n) {
      int count = Objects.checkIndex(src.get(ScalarKernels.INT, srcOff), n + 1);
      f32.asSlice(f32Off, 4L * n).fill((byte) 0);
      long values = srcOff + HEADER_BYTES + 2L * count;
      int index = -1;
      for (int i = 0; i < count; i++) {
        index = Objects.checkIndex(index + 1 + gap(src, srcOff, i), n);
        f32.set(ScalarKernels.INT, f32Off + 4L * index, bits(src, values + 2L * i));
      }
    }

    private static int bits(MemorySegment src, long at) {
      return src.get(ScalarKernels.SHORT, at) << 16;
    }

    @Override
    public int firstNonFinite(MemorySegment encoded, long offset, int n) {
      int count = Objects.checkIndex(encoded.get(ScalarKernels.INT, offset), n + 1);
      long values = offset + HEADER_BYTES + 2L * count;
      int index = -1;
      for (int i = 0; i < count; i++) {
        index += 1 + gap(encoded, offset, i);
        if (!Float.isFinite(Float.intBitsToFloat(bits(encoded, values + 2L * i)))) {
          return index;
        }
      }
      return -1;
    }
  }
}
