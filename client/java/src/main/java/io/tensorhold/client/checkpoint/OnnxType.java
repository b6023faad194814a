package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.DType;
import org.jspecify.annotations.Nullable;

/**
 * The element types of ONNX ({@code TensorProto.DataType}): which dtype each is, and in which typed
 * field a tensor without {@code raw_data} keeps its elements. Types without a dtype are refused by
 * name. On disk, in others' files: do not change.
 */
enum OnnxType {
  UNDEFINED(0, null, 0),
  FLOAT(1, DType.F32, OnnxType.FLOAT_DATA),
  UINT8(2, DType.U8, OnnxType.INT32_DATA, 0, 255),
  INT8(3, DType.I8, OnnxType.INT32_DATA, -128, 127),
  UINT16(4, DType.U16, OnnxType.INT32_DATA, 0, 65_535),
  INT16(5, DType.I16, OnnxType.INT32_DATA, -32_768, 32_767),
  INT32(6, DType.I32, OnnxType.INT32_DATA, Integer.MIN_VALUE, Integer.MAX_VALUE),
  INT64(7, DType.I64, OnnxType.INT64_DATA, Long.MIN_VALUE, Long.MAX_VALUE),
  STRING(8, null, 0),
  BOOL(9, DType.BOOL, OnnxType.INT32_DATA, 0, 1),
  FLOAT16(10, DType.F16, OnnxType.INT32_DATA, 0, 65_535),
  DOUBLE(11, DType.F64, OnnxType.DOUBLE_DATA),
  UINT32(12, DType.U32, OnnxType.UINT64_DATA, 0, 0xffff_ffffL),
  UINT64(13, DType.U64, OnnxType.UINT64_DATA, Long.MIN_VALUE, Long.MAX_VALUE),
  COMPLEX64(14, DType.C64, OnnxType.FLOAT_DATA),
  COMPLEX128(15, null, 0),
  BFLOAT16(16, DType.BF16, OnnxType.INT32_DATA, 0, 65_535),
  FLOAT8E4M3FN(17, DType.F8_E4M3, OnnxType.INT32_DATA, 0, 255),
  FLOAT8E4M3FNUZ(18, null, 0),
  FLOAT8E5M2(19, DType.F8_E5M2, OnnxType.INT32_DATA, 0, 255),
  FLOAT8E5M2FNUZ(20, null, 0),
  UINT4(21, null, 0),
  INT4(22, null, 0),
  /** Two elements a byte; the packing of its typed field is not one value an element: raw only. */
  FLOAT4E2M1(23, DType.F4, 0),
  FLOAT8E8M0(24, DType.F8_E8M0, OnnxType.INT32_DATA, 0, 255),
  UINT2(25, null, 0),
  INT2(26, null, 0);

  static final int FLOAT_DATA = 4;
  static final int INT32_DATA = 5;
  static final int INT64_DATA = 7;
  static final int DOUBLE_DATA = 10;
  static final int UINT64_DATA = 11;

  private final int id;
  private final @Nullable DType dtype;
  private final int typedField;
  private final long min;
  private final long max;

  OnnxType(int id, @Nullable DType dtype, int typedField) {
    this(id, dtype, typedField, 0, 0);
  }

  OnnxType(int id, @Nullable DType dtype, int typedField, long min, long max) {
    this.id = id;
    this.dtype = dtype;
    this.typedField = typedField;
    this.min = min;
    this.max = max;
  }

  static @Nullable OnnxType ofId(long id) {
    for (OnnxType type : values()) {
      if (type.id == id) {
        return type;
      }
    }
    return null;
  }

  @Nullable DType dtype() {
    return dtype;
  }

  /** The field that may hold the elements instead of {@code raw_data}; 0 for none. */
  int typedField() {
    return typedField;
  }

  /** Whether the typed field is a run of varints, and not the little-endian bytes themselves. */
  boolean isVarint() {
    return typedField == INT32_DATA || typedField == INT64_DATA || typedField == UINT64_DATA;
  }

  /** The wire type of one element that is not packed. */
  int wireType() {
    return switch (typedField) {
      case FLOAT_DATA -> ProtoReader.FIXED32;
      case DOUBLE_DATA -> ProtoReader.FIXED64;
      default -> ProtoReader.VARINT;
    };
  }

  /** Whether a varint is a value of this type; {@code value} is as {@link #narrow} returns it. */
  boolean accepts(long value) {
    return value >= min && value <= max;
  }

  /** A varint as this type's field means it: an int32 may be written as 32 or as 64 bits. */
  long narrow(long varint) {
    boolean unsigned32 = typedField == INT32_DATA && varint >>> 32 == 0;
    return unsigned32 ? (int) varint : varint;
  }
}
