package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Reads one {@code TensorProto}: fields in any order first, then what they mean together. A field
 * that may be there once and is there twice is refused: readers disagree about which one counts.
 */
final class OnnxTensorParser {
  private static final int DIMS = 1;
  private static final int DATA_TYPE = 2;
  private static final int SEGMENT = 3;
  private static final int NAME = 8;
  private static final int RAW_DATA = 9;
  private static final int EXTERNAL_DATA = 13;
  private static final int DATA_LOCATION = 14;
  private static final int EXTERNAL = 1;

  /** A writer makes one piece; the format allows any number, memory does not. */
  static final int MAX_PIECES = 4096;

  private final OpenFile file;
  private final ProtoReader reader;
  private final ReferencedFiles beside;
  private final ProtoReader.Field field;

  private final long[] dims = new long[SafetensorsHeader.MAX_RANK];
  private final List<Chunk> typed = new ArrayList<>();
  private final List<Chunk> payload = new ArrayList<>();
  private final Map<String, String> external = new HashMap<>();
  private int rank;
  private int typedField;
  private boolean typedUnpacked;
  private boolean isExternal;
  private @Nullable Long dataType;
  private @Nullable Chunk raw;
  private @Nullable String name;
  private String what = "initializer";

  private OnnxTensorParser(
      OpenFile file, ProtoReader reader, ReferencedFiles beside, ProtoReader.Field field) {
    this.file = file;
    this.reader = reader;
    this.beside = beside;
    this.field = field;
  }

  /**
   * @param beside the files that external data may be in
   * @param field the initializer in its graph
   */
  static OnnxInitializer parse(
      OpenFile file, ProtoReader reader, ReferencedFiles beside, ProtoReader.Field field)
      throws IOException {
    OnnxTensorParser parser = new OnnxTensorParser(file, reader, beside, field);
    parser.readFields();
    return parser.build();
  }

  private void readFields() throws IOException {
    for (long at = field.valueStart(); at < field.end(); ) {
      ProtoReader.Field f = reader.field(at, field.end(), what);
      switch (f.number()) {
        case DIMS -> readDims(f);
        case DATA_TYPE -> {
          once(dataType == null, f, "data_type");
          reader.require(f, ProtoReader.VARINT, "data_type");
          dataType = f.value();
        }
        case SEGMENT -> throw bad("tensors in segments are not supported");
        case NAME -> {
          once(name == null, f, "name");
          reader.require(f, ProtoReader.LENGTH_DELIMITED, "name");
          String text = reader.string(f, "the name of an initializer");
          name = text;
          what = "initializer " + quote(text);
        }
        case RAW_DATA -> {
          once(raw == null, f, "raw_data");
          reader.require(f, ProtoReader.LENGTH_DELIMITED, "raw_data");
          raw = new Chunk(f.valueStart(), f.end());
          payload.add(new Chunk(f.start(), f.end()));
        }
        case OnnxType.FLOAT_DATA,
            OnnxType.INT32_DATA,
            OnnxType.INT64_DATA,
            OnnxType.DOUBLE_DATA,
            OnnxType.UINT64_DATA ->
            readTyped(f);
        case EXTERNAL_DATA -> readExternal(f);
        case DATA_LOCATION -> {
          reader.require(f, ProtoReader.VARINT, "data_location");
          if (f.value() != 0 && f.value() != EXTERNAL) {
            throw bad("data_location " + f.value() + "; 0 (here) and 1 (external) are known");
          }
          isExternal = f.value() == EXTERNAL;
          payload.add(new Chunk(f.start(), f.end()));
        }
        default -> {
          // Documentation, metadata and string_data (which only the refused STRING type has).
        }
      }
      at = f.end();
    }
  }

  private void readDims(ProtoReader.Field f) throws IOException {
    if (f.wireType() == ProtoReader.VARINT) {
      addDim(f.value());
      return;
    }
    reader.require(f, ProtoReader.LENGTH_DELIMITED, "dims");
    for (long at = f.valueStart(); at < f.end(); at = reader.after()) {
      addDim(reader.varint(at, f.end(), what));
    }
  }

  private void addDim(long dim) throws CheckpointException {
    if (dim < 0) {
      throw bad("the dimension " + dim + " is negative");
    }
    if (rank == dims.length) {
      throw bad("more than " + dims.length + " dimensions");
    }
    dims[rank++] = dim;
  }

  private void readTyped(ProtoReader.Field f) throws IOException {
    if (typedField != 0 && typedField != f.number()) {
      throw bad("elements in two typed fields, " + typedField + " and " + f.number());
    }
    if (typed.size() == MAX_PIECES) {
      throw bad("its elements are in more than " + MAX_PIECES + " pieces");
    }
    typedField = f.number();
    typedUnpacked |= f.wireType() != ProtoReader.LENGTH_DELIMITED;
    typed.add(new Chunk(f.valueStart(), f.end()));
    payload.add(new Chunk(f.start(), f.end()));
  }

  private void readExternal(ProtoReader.Field f) throws IOException {
    reader.require(f, ProtoReader.LENGTH_DELIMITED, "external_data");
    OnnxGraph.readEntry(reader, f, "external_data", external);
    payload.add(new Chunk(f.start(), f.end()));
  }

  private OnnxInitializer build() throws IOException {
    if (name == null || name.isEmpty()) {
      throw reader.bad("initializer", field.start(), "it has no name");
    }
    OnnxType type = dataType == null ? OnnxType.UNDEFINED : OnnxType.ofId(dataType);
    if (type == null) {
      throw bad("unknown data_type " + dataType);
    }
    DType dtype = type.dtype();
    if (dtype == null) {
      throw bad("data_type " + type + " is not supported");
    }
    TensorEntry entry = entry(name, dtype);
    return isExternal ? buildExternal(entry) : buildEmbedded(entry, type);
  }

  private TensorEntry entry(String tensor, DType dtype) throws CheckpointException {
    long[] shape = Arrays.copyOf(dims, rank);
    try {
      Shape checked = Shape.of(shape);
      return new TensorEntry(tensor, dtype, checked, dtype.bytes(checked.elements()));
    } catch (IllegalArgumentException | ArithmeticException e) {
      throw bad("dimensions " + Arrays.toString(shape) + " of " + dtype + ": " + e.getMessage());
    }
  }

  private OnnxInitializer buildEmbedded(TensorEntry entry, OnnxType type) throws IOException {
    if (!external.isEmpty()) {
      throw bad("external_data, but data_location does not say external");
    }
    if (raw != null && raw.length() > 0 && !typed.isEmpty()) {
      throw bad("both raw_data and the typed field " + typedField);
    }
    if (typed.isEmpty()) {
      long length = raw == null ? 0 : raw.length();
      if (length != entry.bytes()) {
        throw bad(needs(entry, (raw == null ? "no data" : "raw_data of " + length + " bytes")));
      }
      List<Chunk> inPlace = raw == null ? List.of() : List.of(raw);
      TensorData data =
          raw == null ? new TensorData.Empty() : new TensorData.Plain(file, raw.start());
      return new OnnxInitializer(entry, field, data, inPlace, List.copyOf(payload));
    }
    return buildTyped(entry, type);
  }

  private OnnxInitializer buildTyped(TensorEntry entry, OnnxType type) throws IOException {
    if (typedField != type.typedField()) {
      throw bad("typed field " + typedField + " cannot hold elements of " + type);
    }
    checkUnpacked(type);
    if (type.isVarint()) {
      int width = entry.dtype().bits() / Byte.SIZE;
      TensorData data =
          entry.bytes() == 0 && typed.stream().allMatch(c -> c.length() == 0)
              ? new TensorData.Empty()
              : VarintData.scan(file, type, width, typed, entry.shape().elements(), what);
      return new OnnxInitializer(entry, field, data, List.of(), List.copyOf(payload));
    }
    long bytes = typed.stream().mapToLong(Chunk::length).sum();
    if (bytes != entry.bytes()) {
      throw bad(needs(entry, "elements of " + bytes + " bytes"));
    }
    List<Chunk> pieces = List.copyOf(typed);
    return new OnnxInitializer(
        entry, field, new ChunkedData(file, pieces), pieces, List.copyOf(payload));
  }

  private void checkUnpacked(OnnxType type) throws IOException {
    if (!typedUnpacked) {
      return;
    }
    for (Chunk part : payload) {
      ProtoReader.Field f = reader.field(part.start(), part.end(), what);
      if (f.number() == typedField && f.wireType() != ProtoReader.LENGTH_DELIMITED) {
        reader.require(f, type.wireType(), what);
      }
    }
  }

  private OnnxInitializer buildExternal(TensorEntry entry) throws IOException {
    if ((raw != null && raw.length() > 0) || !typed.isEmpty()) {
      throw bad("data here, but data_location says external");
    }
    String location = external.get("location");
    if (location == null) {
      throw bad("external data without a location");
    }
    OpenFile other = beside.open(location);
    long offset = number("offset", 0);
    long length = number("length", entry.bytes());
    if (length != entry.bytes()) {
      throw bad(needs(entry, "external data of " + length + " bytes"));
    }
    if (offset > other.size() || length > other.size() - offset) {
      throw bad(
          "external data at byte "
              + offset
              + " of length "
              + length
              + " is past the end of "
              + quote(location)
              + ", which has "
              + other.size()
              + " bytes");
    }
    TensorData data = new TensorData.Plain(other, offset);
    return new OnnxInitializer(entry, field, data, List.of(), List.copyOf(payload));
  }

  private long number(String key, long absent) throws CheckpointException {
    String text = external.get(key);
    if (text == null) {
      return absent;
    }
    try {
      long value = Long.parseLong(text);
      if (value >= 0) {
        return value;
      }
    } catch (NumberFormatException e) {
      // Told below, as for a negative number.
    }
    throw bad("external data " + key + " " + quote(text) + " is not a number of bytes");
  }

  private static String needs(TensorEntry entry, String seen) {
    return seen
        + ", but "
        + entry.shape()
        + " of "
        + entry.dtype()
        + " needs "
        + entry.bytes()
        + " bytes";
  }

  private void once(boolean first, ProtoReader.Field f, String fieldName)
      throws CheckpointException {
    if (!first) {
      throw reader.bad(what, f.start(), fieldName + " is there twice");
    }
  }

  private CheckpointException bad(String problem) {
    return reader.bad(what, field.start(), problem);
  }
}
