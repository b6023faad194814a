package io.tensorhold.numerics;

import java.util.Arrays;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * An element type that a checkpoint can give a tensor: under safetensors' names, or one of ggml's
 * blocks, whose id is 64 more than ggml's.
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
  U64(20, 64),
  GGML_Q4_1(67, 32, 20),
  GGML_Q5_0(70, 32, 22),
  GGML_Q5_1(71, 32, 24),
  GGML_Q8_1(73, 32, 40),
  GGML_Q2_K(74, 256, 84),
  GGML_Q3_K(75, 256, 110),
  GGML_Q4_K(76, 256, 144),
  GGML_Q5_K(77, 256, 176),
  GGML_Q6_K(78, 256, 210),
  GGML_Q8_K(79, 256, 292),
  GGML_IQ2_XXS(80, 256, 66),
  GGML_IQ2_XS(81, 256, 74),
  GGML_IQ3_XXS(82, 256, 98),
  GGML_IQ1_S(83, 256, 50),
  GGML_IQ4_NL(84, 32, 18),
  GGML_IQ3_S(85, 256, 110),
  GGML_IQ2_S(86, 256, 82),
  GGML_IQ4_XS(87, 256, 136),
  GGML_IQ1_M(93, 256, 56),
  GGML_TQ1_0(98, 256, 54),
  GGML_TQ2_0(99, 256, 66),
  GGML_MXFP4(103, 32, 17),
  GGML_NVFP4(104, 64, 36),
  GGML_Q1_0(105, 128, 18);

  private static final @Nullable DType[] BY_ID = byId();

  private final int id;
  private final int bits;
  private final int group;
  private final int groupBytes;

  DType(int id, int bits) {
    this.id = id;
    this.bits = bits;
    this.group = bits % Byte.SIZE == 0 ? 1 : bits == 4 ? 2 : 4;
    this.groupBytes = bits * group / Byte.SIZE;
  }

  DType(int id, int group, int groupBytes) {
    this.id = id;
    this.bits = 0;
    this.group = group;
    this.groupBytes = groupBytes;
  }

  /** The persistent number of this dtype: on disk, do not change. */
  public int id() {
    return id;
  }

  /** Bits of one element: 4, 6, 8, 16, 32 or 64; 0 if elements have none of their own. */
  public int bits() {
    return bits;
  }

  /** Elements that share bytes: 1 but for 4- and 6-bit dtypes and ggml's blocks. */
  public int group() {
    return group;
  }

  /** Whether optimizers and codecs can compute with elements of this dtype. */
  public boolean computable() {
    return this == F32 || this == F16 || this == BF16;
  }

  /**
   * Bytes that {@code elements} packed elements take.
   *
   * @throws ArithmeticException if the size does not fit a long
   * @throws IllegalArgumentException if elements is negative, or would end inside a group
   */
  public long bytes(long elements) {
    if (elements < 0) {
      throw new IllegalArgumentException("elements is negative: value=" + elements + " limit>=0");
    }
    if (elements % group != 0) {
      throw new IllegalArgumentException(
          "%d elements of %s are not a multiple of %d, and do not fill whole bytes"
              .formatted(elements, this, group));
    }
    return Math.multiplyExact(elements / group, groupBytes);
  }

  /** Whether a dtype has this persistent number. */
  public static boolean isKnown(int id) {
    return id >= 0 && id < BY_ID.length && BY_ID[id] != null;
  }

  /**
   * The dtype with a persistent number.
   *
   * @throws IllegalArgumentException if no dtype has it
   */
  public static DType ofId(int id) {
    DType dtype = id >= 0 && id < BY_ID.length ? BY_ID[id] : null;
    if (dtype == null) {
      throw new IllegalArgumentException(
          "unknown dtype id: value=%d allowed=1..20, and from 64 on ggml's".formatted(id));
    }
    return dtype;
  }

  /**
   * The dtype with a safetensors name, such as {@code "BF16"}; case matters.
   *
   * @throws IllegalArgumentException if no dtype has it; the message names all that do
   */
  public static DType ofName(String name) {
    for (DType dtype : values()) {
      if (dtype.bits > 0 && dtype.name().equals(name)) {
        return dtype;
      }
    }
    throw new IllegalArgumentException(
        "unknown dtype: value=\"%s\" known=%s"
            .formatted(
                name,
                Arrays.stream(values())
                    .filter(dtype -> dtype.bits > 0)
                    .map(Enum::name)
                    .collect(Collectors.joining(", "))));
  }

  private static @Nullable DType[] byId() {
    @Nullable DType[] table = new @Nullable DType[128];
    for (DType dtype : values()) {
      table[dtype.id] = dtype;
    }
    return table;
  }
}
