package io.tensorhold.numerics;

import java.util.Arrays;
import java.util.stream.Collectors;

/**
 * An element type that a checkpoint can give a tensor, under safetensors' names.
 *
 * <p>Ids are on disk and in the protocol: do not change them. Only {@link #F32}, {@link #F16} and
 * {@link #BF16} are computed with; the others are stored and returned byte for byte.
 */
public enum DType {
  BOOL(1, 8),
  U8(2, 8),
  I8(3, 8),
  F8_E4M3(4, 8),
  F8_E5M2(5, 8),
  F8_E8M0(6, 8),
  F4(7, 4),
  F6_E2M3(8, 6),
  F6_E3M2(9, 6),
  I16(10, 16),
  U16(11, 16),
  F16(12, 16),
  BF16(13, 16),
  I32(14, 32),
  U32(15, 32),
  F32(16, 32),
  C64(17, 64),
  F64(18, 64),
  I64(19, 64),
  U64(20, 64);

  private static final DType[] BY_ID = byId();

  private final int id;
  private final int bits;

  DType(int id, int bits) {
    this.id = id;
    this.bits = bits;
  }

  /** The persistent number of this dtype: on disk, do not change. */
  public int id() {
    return id;
  }

  /** Bits of one element: 4, 6, 8, 16, 32 or 64. */
  public int bits() {
    return bits;
  }

  /** Whether optimizers and codecs can compute with elements of this dtype. */
  public boolean computable() {
    return this == F32 || this == F16 || this == BF16;
  }

  /**
   * Bytes that {@code elements} packed elements take.
   *
   * @throws ArithmeticException if the size does not fit a long
   * @throws IllegalArgumentException if elements is negative, or a 4- or 6-bit dtype would end
   *     inside a byte
   */
  public long bytes(long elements) {
    if (elements < 0) {
      throw new IllegalArgumentException("elements is negative: value=" + elements + " limit>=0");
    }
    if (bits % Byte.SIZE == 0) {
      return Math.multiplyExact(elements, bits / Byte.SIZE);
    }
    long all = Math.multiplyExact(elements, bits);
    if (all % Byte.SIZE != 0) {
      throw new IllegalArgumentException(
          "%d elements of %s are %d bits, which is not a whole number of bytes"
              .formatted(elements, this, all));
    }
    return all / Byte.SIZE;
  }

  /**
   * The dtype with a persistent number.
   *
   * @throws IllegalArgumentException if no dtype has it
   */
  public static DType ofId(int id) {
    if (id < 1 || id >= BY_ID.length) {
      throw new IllegalArgumentException(
          "unknown dtype id: value=%d allowed=1..%d".formatted(id, BY_ID.length - 1));
    }
    return BY_ID[id];
  }

  /**
   * The dtype with a safetensors name, such as {@code "BF16"}; case matters.
   *
   * @throws IllegalArgumentException if no dtype has it; the message names all that do
   */
  public static DType ofName(String name) {
    for (DType dtype : BY_ID) {
      if (dtype.name().equals(name)) {
        return dtype;
      }
    }
    throw new IllegalArgumentException(
        "unknown dtype: value=\"%s\" known=%s"
            .formatted(
                name, Arrays.stream(values()).map(Enum::name).collect(Collectors.joining(", "))));
  }

  private static DType[] byId() {
    DType[] all = values();
    DType[] table = new DType[all.length + 1];
    Arrays.fill(table, BOOL); // index 0 is never read; it is filled so that no entry is null
    for (DType dtype : all) {
      table[dtype.id] = dtype;
    }
    return table;
  }
}
