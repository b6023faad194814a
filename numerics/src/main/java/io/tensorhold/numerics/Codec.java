package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;
import java.util.stream.Collectors;

/**
 * How the elements of a block are encoded in little-endian bytes.
 *
 * <p>Ids are on disk and in the protocol: do not change them.
 *
 * <pre>
 * f32    4 B        IEEE binary32
 * f16    2 B        IEEE binary16, rounded to nearest even; overflow becomes infinite; a NaN keeps
 *                   its sign and upper payload and is made quiet
 * bf16   2 B        upper half of an f32, rounded to nearest even; every NaN becomes 7FC0 or FFC0
 * q8_0   34 B / 32  f16 scale d, then 32 × i8 q; a value is q·d (ggml's q8_0)
 * raw    as given   bytes of a dtype that is not computed with
 * </pre>
 *
 * <p>In q8_0, d = absmax / 127, and q = x · (1 / d), rounded half away from zero, where 1 / d is
 * taken in f32 before d is rounded to f16. A group that holds a NaN or an infinity, or whose absmax
 * exceeds about 8.3 million, gets a scale that is not finite: {@link Kernels#firstNonFinite} finds
 * it. A last group with fewer than 32 elements is stored whole, zeros after its elements.
 */
public enum Codec {
  F32(1) {
    @Override
    void encodeChecked(
        Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n) {
      MemorySegment.copy(f32, f32Offset, dst, dstOffset, 4L * n);
    }

    @Override
    void decodeChecked(
        Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n) {
      MemorySegment.copy(src, srcOffset, f32, f32Offset, 4L * n);
    }
  },
  F16(2) {
    @Override
    void encodeChecked(
        Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n) {
      k.encodeF16(f32, f32Offset, dst, dstOffset, n);
    }

    @Override
    void decodeChecked(
        Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n) {
      k.decodeF16(src, srcOffset, f32, f32Offset, n);
    }
  },
  BF16(3) {
    @Override
    void encodeChecked(
        Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n) {
      k.encodeBf16(f32, f32Offset, dst, dstOffset, n);
    }

    @Override
    void decodeChecked(
        Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n) {
      k.decodeBf16(src, srcOffset, f32, f32Offset, n);
    }
  },
  Q8_0(4) {
    @Override
    void encodeChecked(
        Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n) {
      k.encodeQ80(f32, f32Offset, dst, dstOffset, n);
    }

    @Override
    void decodeChecked(
        Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n) {
      k.decodeQ80(src, srcOffset, f32, f32Offset, n);
    }
  },
  RAW(15) {
    @Override
    void encodeChecked(
        Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n) {
      throw rawHasNoValues();
    }

    @Override
    void decodeChecked(
        Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n) {
      throw rawHasNoValues();
    }
  };

  /** Elements that share one scale in q8_0. */
  static final int Q8_0_GROUP = 32;

  /** Bytes of a q8_0 group: an f16 scale and {@value #Q8_0_GROUP} signed bytes. */
  static final int Q8_0_GROUP_BYTES = 34;

  private final int id;
  private final String label;

  Codec(int id) {
    this.id = id;
    this.label = name().toLowerCase(Locale.ROOT);
  }

  abstract void encodeChecked(
      Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n);

  abstract void decodeChecked(
      Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n);

  /** The persistent number of this codec: on disk, do not change. */
  public int id() {
    return id;
  }

  /** The name that people write: f32, f16, bf16, q8_0 or raw. */
  public String label() {
    return label;
  }

  /** Whether encoded elements have values that can be decoded and updated: all codecs but RAW. */
  public boolean computable() {
    return this != RAW;
  }

  /** Whether a parameter of this dtype may be stored so: RAW takes what can't be computed with. */
  public boolean accepts(DType dtype) {
    return dtype.computable() == computable();
  }

  /**
   * Bytes that {@code elements} elements take when stored from the start of a group; the dtype
   * matters to RAW only.
   *
   * @throws ArithmeticException if the size does not fit a long
   * @throws IllegalArgumentException if elements is negative, or see {@link DType#bytes}
   */
  public long bytes(DType dtype, long elements) {
    return switch (this) {
      case F32 -> DType.F32.bytes(elements);
      case F16, BF16 -> DType.F16.bytes(elements);
      case Q8_0 ->
          Math.multiplyExact(Math.ceilDiv(DType.I8.bytes(elements), Q8_0_GROUP), Q8_0_GROUP_BYTES);
      case RAW -> dtype.bytes(elements);
    };
  }

  /**
   * Encodes {@code n} f32 values; source and destination must not overlap.
   *
   * @throws IndexOutOfBoundsException if either segment is too short; nothing is written then
   * @throws UnsupportedOperationException if this is RAW
   */
  public void encode(
      Kernels k, MemorySegment f32, long f32Offset, MemorySegment dst, long dstOffset, int n) {
    check(f32, f32Offset, dst, dstOffset, n);
    encodeChecked(k, f32, f32Offset, dst, dstOffset, n);
  }

  /**
   * Decodes {@code n} elements to f32; source and destination must not overlap.
   *
   * @throws IndexOutOfBoundsException if either segment is too short; nothing is written then
   * @throws UnsupportedOperationException if this is RAW
   */
  public void decode(
      Kernels k, MemorySegment src, long srcOffset, MemorySegment f32, long f32Offset, int n) {
    check(f32, f32Offset, src, srcOffset, n);
    decodeChecked(k, src, srcOffset, f32, f32Offset, n);
  }

  private void check(MemorySegment f32, long f32Offset, MemorySegment coded, long offset, int n) {
    if (this == RAW) {
      throw rawHasNoValues();
    }
    Objects.checkFromIndexSize(f32Offset, 4L * n, f32.byteSize());
    Objects.checkFromIndexSize(offset, bytes(DType.F32, n), coded.byteSize());
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
    for (Codec codec : values()) {
      if (codec.id == id) {
        return codec;
      }
    }
    throw new IllegalArgumentException("unknown codec id: value=%d allowed=1..4, 15".formatted(id));
  }

  /**
   * The codec with a label such as {@code "q8_0"}; case does not matter.
   *
   * @throws IllegalArgumentException if no codec has it; the message names all that do
   */
  public static Codec ofName(String name) {
    for (Codec codec : values()) {
      if (codec.label.equalsIgnoreCase(name)) {
        return codec;
      }
    }
    throw new IllegalArgumentException(
        "unknown codec: value=\"%s\" known=%s"
            .formatted(
                name, Arrays.stream(values()).map(Codec::label).collect(Collectors.joining(", "))));
  }

  private static UnsupportedOperationException rawHasNoValues() {
    return new UnsupportedOperationException(
        "codec raw keeps bytes of a dtype that is not computed with: it has no f32 values");
  }
}
