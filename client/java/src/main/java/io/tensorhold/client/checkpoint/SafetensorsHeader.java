package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The header of one safetensors file, checked whole.
 *
 * <pre>
 *   0      8            8+N                         file end
 *   | u64 N | N bytes of JSON | tensor bytes, no gap, no overlap |
 * </pre>
 *
 * The JSON is streamed, so memory is bounded by the number of tensors and the length of their
 * names, both of which have a limit, and never by what a length field claims.
 *
 * @param dataStart where the tensors' bytes begin in the file
 * @param tensors in the order of their bytes
 */
record SafetensorsHeader(long dataStart, List<Located> tensors, Map<String, String> metadata) {
  static final String METADATA = "__metadata__";
  static final int LENGTH_BYTES = 8;
  static final long MAX_HEADER_BYTES = 100_000_000;
  static final int MAX_TENSORS = 500_000;
  static final int MAX_METADATA = 65_536;
  static final long MAX_METADATA_CHARS = 32 << 20;
  static final int MAX_RANK = 32;

  /** A tensor and where its bytes begin, counted from {@link #dataStart}. */
  record Located(TensorEntry entry, long begin) {
    long end() {
      return begin + entry.bytes();
    }
  }

  static SafetensorsHeader parse(OpenFile file) throws IOException {
    if (file.size() < LENGTH_BYTES) {
      throw new CheckpointException(
          file.path(),
          "truncated: "
              + file.size()
              + " bytes, a safetensors file has at least "
              + LENGTH_BYTES
              + " for the length of its header");
    }
    ByteBuffer prefix = ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    file.read(0, prefix);
    long length = prefix.getLong(0);
    if (length < 0 || length > MAX_HEADER_BYTES) {
      throw new CheckpointException(
          file.path(),
          "header length "
              + Long.toUnsignedString(length)
              + " exceeds the limit of "
              + MAX_HEADER_BYTES
              + " bytes; is this a safetensors file?");
    }
    if (length > file.size() - LENGTH_BYTES) {
      throw new CheckpointException(
          file.path(),
          "header length "
              + length
              + " is past the end of the file: "
              + (file.size() - LENGTH_BYTES)
              + " bytes follow");
    }
    Reader reader = new Reader(file);
    StrictJson.readObject(file, LENGTH_BYTES, length, "the header", reader::member);
    reader.checkExtents(file.size() - LENGTH_BYTES - length);
    return new SafetensorsHeader(
        LENGTH_BYTES + length, List.copyOf(reader.tensors), Map.copyOf(reader.metadata));
  }

  /** The state of reading one header. */
  private static final class Reader {
    private final OpenFile file;
    private final List<Located> tensors = new ArrayList<>();
    private final Map<String, String> metadata = new LinkedHashMap<>();
    private long metadataChars;

    Reader(OpenFile file) {
      this.file = file;
    }

    void member(String name, JsonParser json) throws IOException {
      if (name.equals(METADATA)) {
        readMetadata(json);
        return;
      }
      if (tensors.size() == MAX_TENSORS) {
        throw bad("more than " + MAX_TENSORS + " tensors");
      }
      if (!StrictJson.isWellFormed(name)) {
        throw bad("the tensor name " + quote(name) + " is not valid Unicode");
      }
      tensors.add(readTensor(name, json));
    }

    private void readMetadata(JsonParser json) throws IOException {
      if (json.currentToken() != JsonToken.START_OBJECT) {
        throw bad(METADATA + " is " + describe(json) + ", not an object of strings");
      }
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String key = json.currentName();
        if (json.nextToken() != JsonToken.VALUE_STRING) {
          throw bad(METADATA + " " + quote(key) + " is " + describe(json) + ", not a string");
        }
        String value = json.getText();
        metadata.put(key, value);
        metadataChars += key.length() + value.length();
        if (metadata.size() > MAX_METADATA || metadataChars > MAX_METADATA_CHARS) {
          throw bad(
              METADATA
                  + " exceeds its limit of "
                  + MAX_METADATA
                  + " entries or "
                  + MAX_METADATA_CHARS
                  + " characters");
        }
      }
    }

    private Located readTensor(String name, JsonParser json) throws IOException {
      if (json.currentToken() != JsonToken.START_OBJECT) {
        throw bad(name, "its description is " + describe(json) + ", not an object");
      }
      DType dtype = null;
      Shape shape = null;
      long[] offsets = null;
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String key = json.currentName();
        json.nextToken();
        switch (key) {
          case "dtype" -> dtype = readDType(name, json);
          case "shape" -> shape = readShape(name, json);
          case "data_offsets" -> offsets = readNumbers(name, json, key, 2);
          default -> json.skipChildren();
        }
      }
      return locate(name, dtype, shape, offsets);
    }

    private Located locate(
        String name, @Nullable DType dtype, @Nullable Shape shape, long @Nullable [] offsets)
        throws CheckpointException {
      if (dtype == null || shape == null || offsets == null) {
        String missing = dtype == null ? "dtype" : shape == null ? "shape" : "data_offsets";
        throw bad(name, missing + " is missing");
      }
      if (offsets.length != 2) {
        throw bad(name, "data_offsets has " + offsets.length + " numbers, not 2");
      }
      if (offsets[0] > offsets[1]) {
        throw bad(name, "data_offsets begin " + offsets[0] + " is after end " + offsets[1]);
      }
      long bytes;
      try {
        bytes = dtype.bytes(shape.elements());
      } catch (ArithmeticException e) {
        throw bad(name, "the size of shape " + shape + " of " + dtype + " overflows");
      } catch (IllegalArgumentException e) {
        throw bad(name, "shape " + shape + " of " + dtype + " does not fill whole bytes");
      }
      if (offsets[1] - offsets[0] != bytes) {
        throw bad(
            name,
            "data_offsets span "
                + (offsets[1] - offsets[0])
                + " bytes, but shape "
                + shape
                + " of "
                + dtype
                + " needs "
                + bytes);
      }
      return new Located(new TensorEntry(name, dtype, shape, bytes), offsets[0]);
    }

    private DType readDType(String name, JsonParser json) throws IOException {
      if (json.currentToken() != JsonToken.VALUE_STRING) {
        throw bad(name, "dtype is " + describe(json) + ", not a string");
      }
      try {
        return DType.ofName(json.getText());
      } catch (IllegalArgumentException e) {
        throw bad(name, "unknown dtype " + quote(json.getText()));
      }
    }

    private Shape readShape(String name, JsonParser json) throws IOException {
      long[] dims = readNumbers(name, json, "shape", MAX_RANK);
      try {
        return Shape.of(dims);
      } catch (IllegalArgumentException | ArithmeticException e) {
        throw bad(name, "shape " + java.util.Arrays.toString(dims) + ": " + e.getMessage());
      }
    }

    private long[] readNumbers(String name, JsonParser json, String key, int most)
        throws IOException {
      if (json.currentToken() != JsonToken.START_ARRAY) {
        throw bad(name, key + " is " + describe(json) + ", not an array");
      }
      long[] numbers = new long[most];
      int n = 0;
      while (json.nextToken() != JsonToken.END_ARRAY) {
        if (json.currentToken() != JsonToken.VALUE_NUMBER_INT) {
          throw bad(name, key + " contains " + describe(json) + ", not a whole number");
        }
        if (json.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
          throw bad(name, key + " contains " + quote(json.getText()) + ", past 2^63-1");
        }
        if (json.getLongValue() < 0) {
          throw bad(name, key + " contains the negative number " + json.getLongValue());
        }
        if (n == most) {
          throw bad(name, key + " has more than " + most + " numbers");
        }
        numbers[n++] = json.getLongValue();
      }
      return java.util.Arrays.copyOf(numbers, n);
    }

    /** Sorts by offset; then every tensor must begin where the one before it ends. */
    void checkExtents(long dataBytes) throws CheckpointException {
      tensors.sort(Comparator.comparingLong(Located::begin).thenComparingLong(Located::end));
      long end = 0;
      for (Located tensor : tensors) {
        if (tensor.begin() != end) {
          String kind = tensor.begin() < end ? "overlaps the tensor before it" : "leaves a gap";
          throw bad(
              tensor.entry().name(),
              kind + ": it begins at data byte " + tensor.begin() + ", expected " + end);
        }
        end = tensor.end();
      }
      if (end != dataBytes) {
        String kind =
            end > dataBytes ? "truncated" : "bytes after the last tensor (a file of two formats?)";
        throw bad(kind + ": the tensors end at data byte " + end + ", the file at " + dataBytes);
      }
    }

    private static String describe(JsonParser json) throws IOException {
      return switch (json.currentToken()) {
        case null -> "nothing";
        case START_OBJECT -> "an object";
        case START_ARRAY -> "an array";
        case VALUE_STRING -> "the string " + quote(json.getText());
        case VALUE_NULL -> "null";
        default -> quote(json.getText());
      };
    }

    private CheckpointException bad(String problem) {
      return new CheckpointException(file.path(), problem);
    }

    private CheckpointException bad(String tensor, String problem) {
      return bad("tensor " + quote(tensor) + ": " + problem);
    }
  }
}
