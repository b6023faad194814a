package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/**
 * How the elements of a block are encoded in little-endian bytes.
 *
 * <p>Ids are on disk and in the protocol: do not change them. Elements of one group share a scale,
 * which stands before their codes; a last group that is not full is stored whole, as if zeros
 * followed its elements (which sign1 leaves out of its mean).
 *
 * <pre>
 * f32        4 B          IEEE binary32
 * f16        2 B          IEEE binary16, rounded to nearest even; overflow becomes infinite; a NaN
 *                         keeps its sign and upper payload and is made quiet
 * bf16       2 B          upper half of an f32, rounded to nearest even; every NaN becomes 7FC0 or
 *                         FFC0
 * q8_0       34 B / 32    f16 scale d, 32 × i8 q; a value is q·d. ggml's
 * fp8_e4m3   260 B / 256  f32 scale s, 256 × e4m3 (OCP's FP8, no infinities); a value is code·s
 * q4_0       18 B / 32    f16 scale d, 16 B; a value is (q − 8)·d. ggml's
 * nf4        36 B / 64    f32 absmax, 32 B; a value is table[q]·absmax. bitsandbytes'
 * q8_linear  260 B / 256  f32 absmax, 256 × i8 q; a value is (q · (1/127))·absmax
 * topk       4 + 4 k B    gradients on the wire only: k elements, the rest zeros; see {@link TopK}
 * sign1      36 B / 256   gradients on the wire only: f32 s, 256 sign bits; a value is ±s
 * raw        as given     bytes of a dtype that is not computed with
 * </pre>
 *
 * <ul>
 *   <li>q8_0: d = absmax / 127, and q = x · (1 / d), rounded half away from zero, where 1 / d is
 *       taken in f32 before d is rounded to f16.
 *   <li>fp8_e4m3: s is the smallest power of two, at least 2⁻¹²⁶, with absmax / s ≤ 448; x / s is
 *       rounded to nearest even. A power of two makes the division exact.
 *   <li>q4_0: d = m / −8, m being the first of the elements with the largest magnitude; q = min(15,
 *       ⌊x · (1 / d) + 8.5⌋), with two roundings. Byte j holds q[j] and, above it, q[j + 16].
 *   <li>nf4: q is the nearest of the table to x · (1 / absmax), the lower of two as near; the even
 *       element is in the high nibble. A group of zeros has absmax 0 and every q = 7, whose table
 *       value is 0: it decodes to +0. So does a group whose 1 / absmax would be infinite.
 *   <li>q8_linear: q = rint(x · (127 / absmax)). A group whose 127 / absmax would be infinite is
 *       stored as zeros.
 *   <li>sign1: s is the mean of |x| over the elements of the group, summed in f64 from the first
 *       on; bit i % 8 of byte i / 8 is the sign bit of element i, 1 for negative. Seide et al.,
 *       "1-Bit Stochastic Gradient Descent", 2014; the scale is that of Karimireddy et al., "Error
 *       Feedback Fixes SignSGD", 2019, for groups.
 * </ul>
 *
 * <p>Where there is a scale, a group that holds a NaN or an infinity, or overflows its scale, loses
 * all its values: each decodes to NaN or an infinity, so that {@link #firstNonFinite} finds it.
 * Which of the two is not defined.
 */
public enum Codec {
  F32(1, 1, Float.BYTES, true),
  F16(2, 1, Short.BYTES, true),
  BF16(3, 1, Short.BYTES, true),
  Q8_0(4, ScalarQ80.GROUP, ScalarQ80.GROUP_BYTES, false),
  FP8_E4M3(5, ScalarFp8.GROUP, ScalarFp8.GROUP_BYTES, false),
  Q4_0(6, ScalarQ40.GROUP, ScalarQ40.GROUP_BYTES, false),
  NF4(7, ScalarNf4.GROUP, ScalarNf4.GROUP_BYTES, false),
  Q8_LINEAR(8, ScalarQ8Linear.GROUP, ScalarQ8Linear.GROUP_BYTES, false),
  TOPK(9, Blocks.MULTIPLE, 0, true),
  SIGN1(10, ScalarSign1.GROUP, ScalarSign1.GROUP_BYTES, false),
  RAW(15, 1, 0, true);

  private static final Codec[] ALL = values();

  private final int id;
  private final int group;
  private final int groupBytes;
  private final boolean holdsNonFinite;
  private final String label;

  Codec(int id, int group, int groupBytes, boolean holdsNonFinite) {
    this.id = id;
    this.group = group;
    this.groupBytes = groupBytes;
    this.holdsNonFinite = holdsNonFinite;
    this.label = name().toLowerCase(Locale.ROOT);
  }

  /** The persistent number of this codec: on disk, do not change. */
  public int id() {
    return id;
  }

  /** The name that people write, such as f32 or q8_0. */
  public String label() {
    return label;
  }

  /** Whether encoded elements have values that can be decoded and updated: all codecs but RAW. */
  public boolean computable() {
    return this != RAW;
  }

  /**
   * Whether blocks may be stored and pulled so: not so TOPK and SIGN1, which lose too much of
   * anything but a gradient whose error is fed back.
   */
  public boolean storable() {
    return this != TOPK && this != SIGN1;
  }

  /** Whether the number of elements alone decides the bytes: all codecs but TOPK. */
  public boolean fixedSize() {
    return this != TOPK;
  }

  /** Whether so many bytes can be the payload of so many elements, before they are looked at. */
  public boolean fits(DType dtype, long elements, long payloadBytes) {
    long most = bytes(dtype, elements);
    return fixedSize()
        ? payloadBytes == most
        : payloadBytes >= TopK.HEADER_BYTES
            && payloadBytes <= most
            && (payloadBytes - TopK.HEADER_BYTES) % TopK.ENTRY_BYTES == 0;
  }

  /**
   * Elements that are encoded together: a divisor of {@link Blocks#MULTIPLE}; 1 without a scale.
   */
  public int group() {
    return group;
  }

  /**
   * Bytes of a group. RAW has none of its own: an element takes what its dtype takes. Nor has TOPK.
   */
  public int groupBytes() {
    return groupBytes;
  }

  /** Whether a NaN or an infinity is kept as such, without harm to the elements around it. */
  public boolean holdsNonFinite() {
    return holdsNonFinite;
  }

  /** Whether {@link #encodeStochastic} is there: all that weights are rounded to when stored. */
  public boolean stochastic() {
    return computable() && storable() && this != F32;
  }

  /** Whether any run of elements has bytes of its own, so that it can be sent without the rest. */
  public boolean sliceable(DType dtype) {
    return group == 1 && (this != RAW || dtype.group() == 1);
  }

  /** Whether a parameter of this dtype may be stored so: RAW takes what can't be computed with. */
  public boolean accepts(DType dtype) {
    return dtype.computable() == computable() && storable();
  }

  /**
   * Bytes that {@code elements} elements take when stored from the start of a group, under TOPK the
   * most that they can take; the dtype matters to RAW only.
   *
   * @throws ArithmeticException if the size does not fit a long
   * @throws IllegalArgumentException if elements is negative, or see {@link DType#bytes}
   */
  public long bytes(DType dtype, long elements) {
    if (this == RAW) {
      return dtype.bytes(elements);
    }
    if (this == TOPK) {
      long entries = Math.multiplyExact(DType.I8.bytes(elements), TopK.ENTRY_BYTES);
      return Math.addExact(TopK.HEADER_BYTES, entries);
    }
    long groups = Math.ceilDiv(DType.I8.bytes(elements), group); // which refuses a negative number
    return Math.multiplyExact(groups, groupBytes);
  }

  /**
   * The largest error |x − decode(encode(x))| of an element x in a group whose largest magnitude is
   * {@code absmax}; for stochastic rounding it is twice that. Infinite where the codec overflows.
   *
   * <pre>
   * f32        0
   * f16        2⁻¹¹ · absmax, at least 2⁻²⁵                half a unit of 11 bits
   * bf16       2⁻⁸ · absmax, at least 2⁻¹³⁴                half a unit of 8 bits
   * q8_0       (1/254 + 2⁻¹¹) · absmax + 127 · 2⁻²⁵        half a step; the scale's rounding
   * fp8_e4m3   2⁻⁴ · absmax, at least 2⁻¹³⁶                half a unit of 4 bits
   * q4_0       (1/8 + 2⁻¹¹) · absmax + 8 · 2⁻²⁵            a value opposite to m lacks its code 16
   * nf4        0.15191 · absmax + 2⁻¹²⁶                    half the gap between codes 0 and 1
   * q8_linear  1/254 · absmax + 2⁻¹²¹                      half a step
   * topk       absmax                                      an element that is not sent
   * sign1      absmax                                      a zero among large values
   * </pre>
   *
   * Each but the first three has 10⁻⁵ of itself added for the roundings on the way.
   *
   * @throws UnsupportedOperationException if this is RAW
   */
  public double errorBound(float absmax) {
    return switch (this) {
      case F32 -> 0;
      case F16 -> absmax >= 65520f ? Double.POSITIVE_INFINITY : Math.max(0x1p-11 * absmax, 0x1p-25);
      case BF16 ->
          absmax >= 0x1.ffp127f ? Double.POSITIVE_INFINITY : Math.max(0x1p-8 * absmax, 0x1p-134);
      case Q8_0 -> withScale(absmax, 127, (1 / 254.0 + 0x1p-11) * absmax);
      case FP8_E4M3 -> roomForRounding(Math.max(0x1p-4 * absmax, 0x1p-136));
      case Q4_0 -> withScale(absmax, 8, (1 / 8.0 + 0x1p-11) * absmax);
      case NF4 -> roomForRounding(0.15191 * absmax + 0x1p-126);
      case Q8_LINEAR -> roomForRounding(absmax / 254.0 + 0x1p-121);
      case TOPK -> Math.max(absmax, BF16.errorBound(absmax));
      case SIGN1 -> absmax;
      case RAW -> throw rawHasNoValues();
    };
  }

  /** The bound of a codec whose scale is an f16 near absmax / steps. */
  private static double withScale(float absmax, int steps, double relative) {
    return absmax / (double) steps >= 65519 // above this f16 rounds to infinity
        ? Double.POSITIVE_INFINITY
        : roomForRounding(relative + steps * 0x1p-25);
  }

  private static double roomForRounding(double bound) {
    return bound * (1 + 1e-5);
  }

  /**
   * Encodes {@code n} f32 values; source and destination must not overlap.
   *
   * @throws IndexOutOfBoundsException if either segment is too short; nothing is written then
   * @throws UnsupportedOperationException if this is RAW, or TOPK: see {@link TopK#encode}
   */
  public void encode(
      Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n) {
    check(f32, f32Offset, dst, dstOffset, n);
    k.codec(this).encode(f32, f32Offset, dst, dstOffset, n);
  }

  /**
   * Encodes {@code n} f32 values, each rounded up or down by a hash of the seed and of its index
   * counted from {@code f32Offset}; see {@link StochasticRounding}. NaN and infinities become what
   * {@link #encode} makes of them, nothing finite becomes infinite, and what f16, bf16 and fp8_e4m3
   * hold exactly is kept.
   *
   * <p>What is below the code's last bit is its probability to be rounded up, in magnitude for the
   * floats: 13 random bits for f16, 16 for bf16, 20 for fp8_e4m3; else 16, and an element of nf4
   * goes to the next value of the table with the probability of the way to it. For q8_0 and q4_0
   * the quotient is by the scale as it is stored. So the mean is the value, but for an element that
   * is beyond the last code because of the scale's rounding, or opposite to q4_0's m.
   *
   * @throws IndexOutOfBoundsException if either segment is too short; nothing is written then
   * @throws UnsupportedOperationException unless {@link #stochastic}
   */
  public void encodeStochastic(
      Kernels k,
      MemorySegment f32,
      long f32Offset,
      MemorySegment dst,
      long dstOffset,
      int n,
      long seed) {
    check(f32, f32Offset, dst, dstOffset, n);
    k.codec(this).encodeStochastic(f32, f32Offset, dst, dstOffset, n, seed);
  }

  /**
   * Decodes {@code n} elements to f32; source and destination must not overlap.
   *
   * @throws IndexOutOfBoundsException if either segment is too short; nothing is written then. Also
   *     if a TOPK payload is one that {@link TopK#fault} finds fault with
   * @throws UnsupportedOperationException if this is RAW
   */
  public void decode(
      Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n) {
    check(f32, f32Offset, src, srcOffset, n);
    k.codec(this).decode(src, srcOffset, f32, f32Offset, n);
  }

  /**
   * The index of the first of {@code n} encoded elements whose value is NaN or infinite, or −1.
   *
   * @throws IndexOutOfBoundsException if the segment is too short
   * @throws UnsupportedOperationException if this is RAW
   */
  public int firstNonFinite(Kernels k, MemorySegment encoded, long offset, int n) {
    CodecKernel kernel = k.codec(this);
    checkCoded(encoded, offset, n);
    return kernel.firstNonFinite(encoded, offset, n);
  }

  private void check(MemorySegment f32, long f32Offset, MemorySegment coded, long offset, int n) {
    if (this == RAW) {
      throw rawHasNoValues();
    }
    Objects.checkFromIndexSize(f32Offset, 4L * n, f32.byteSize());
    checkCoded(coded, offset, n);
  }

  private void checkCoded(MemorySegment coded, long offset, int n) {
    long least = fixedSize() ? bytes(DType.F32, n) : TopK.HEADER_BYTES;
    Objects.checkFromIndexSize(offset, least, coded.byteSize());
  }

  /** The codec that stores a dtype unchanged: its own, or RAW when it is not computed with. */
  public static Codec nativeOf(DType dtype) {
    return switch (dtype) {
      case F32 -> F32;
      case F16 -> F16;
      case BF16 -> BF16;
      default -> RAW;
    };
  }

  /**
   * The codec with a persistent number.
   *
   * @throws IllegalArgumentException if no codec has it
   */
  public static Codec ofId(int id) {
    for (Codec codec : ALL) {
      if (codec.id == id) {
        return codec;
      }
    }
    throw new IllegalArgumentException(
        "unknown codec id: value=%d allowed=1..10, 15".formatted(id));
  }

  /**
   * The codec with a label such as {@code "q8_0"}; case does not matter.
   *
   * @throws IllegalArgumentException if no codec has it; the message names all that do
   */
  public static Codec ofName(String name) {
    for (Codec codec : ALL) {
      if (codec.label.equalsIgnoreCase(name)) {
        return codec;
      }
    }
    throw new IllegalArgumentException(
        "unknown codec: value=\"%s\" known=%s, raw".formatted(name, labels(Codec::computable)));
  }

  /** The labels of all codecs that numbers can be stored in, as messages list them. */
  public static String storableLabels() {
    return labels(codec -> codec.computable() && codec.storable());
  }

  private static String labels(Predicate<Codec> which) {
    return Arrays.stream(ALL).filter(which).map(Codec::label).collect(Collectors.joining(", "));
  }

  static UnsupportedOperationException rawHasNoValues() {
    return new UnsupportedOperationException(
        "codec raw keeps bytes of a dtype that is not computed with: it has no f32 values");
  }
}
