package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import org.jspecify.annotations.Nullable;

/**
 * What ggml's tensor types are here: numbers of one dtype each, blocks that a codec of ours is, or
 * blocks of a dtype that is stored and not computed with.
 *
 * @param id ggml's number of the type
 * @param dtype of the elements
 * @param codec what the bytes are encoded in
 */
record GgmlType(int id, DType dtype, Codec codec) {
  private static final int GGML_DTYPES = 64;
  private static final int MOST = 63;

  /** The type of a number; null if it is not known, as those that ggml has removed. */
  static @Nullable GgmlType ofId(long id) {
    if (id < 0 || id > MOST) {
      return null;
    }
    int known = (int) id;
    return switch (known) {
      case 0 -> plain(known, DType.F32);
      case 1 -> plain(known, DType.F16);
      case 2 -> new GgmlType(known, DType.F32, Codec.Q4_0);
      case 8 -> new GgmlType(known, DType.F32, Codec.Q8_0);
      case 24 -> plain(known, DType.I8);
      case 25 -> plain(known, DType.I16);
      case 26 -> plain(known, DType.I32);
      case 27 -> plain(known, DType.I64);
      case 28 -> plain(known, DType.F64);
      case 30 -> plain(known, DType.BF16);
      default ->
          DType.isKnown(GGML_DTYPES + known) ? plain(known, DType.ofId(GGML_DTYPES + known)) : null;
    };
  }

  private static GgmlType plain(int id, DType dtype) {
    return new GgmlType(id, dtype, Codec.nativeOf(dtype));
  }

  /**
   * The type that holds a stored tensor: blocks of q8_0 and q4_0 as they are, if rows are whole
   * blocks; else its dtype. Null if ggml has none.
   */
  static @Nullable GgmlType of(DType dtype, Codec stored, Shape shape) {
    boolean wholeRows = shape.rank() > 0 && shape.dim(shape.rank() - 1) % stored.group() == 0;
    if (stored == Codec.Q8_0 && wholeRows) {
      return ofId(8);
    }
    if (stored == Codec.Q4_0 && wholeRows) {
      return ofId(2);
    }
    for (int id = 0; id <= MOST; id++) {
      GgmlType type = ofId(id);
      if (type != null && type.dtype == dtype && type.codec == Codec.nativeOf(dtype)) {
        return type;
      }
    }
    return null;
  }

  /** Elements that share bytes: rows are a multiple of it. */
  int group() {
    return codec == Codec.RAW ? dtype.group() : codec.group();
  }
}
