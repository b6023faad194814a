package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * A safetensors file being written, tensor bytes in any order and in pieces of any size.
 *
 * <p>Tensors lie in the file as the format's own library orders them: element types of stricter
 * alignment first, then by name; the header is padded with spaces to 8 bytes. The file appears
 * under its name when {@link #finish} has put it on disk whole; closed without, it leaves nothing
 * behind.
 *
 * <p>Safe for use by several threads.
 */
public final class SafetensorsWriter implements CheckpointWriter {
  private static final int ALIGNMENT = 8;
  private static final int ENTRY_BYTES = 64;

  /** The order of the reference library, lowest first; written files list it downwards. */
  private static final List<DType> REFERENCE_ORDER =
      List.of(
          DType.BOOL,
          DType.F4,
          DType.F6_E2M3,
          DType.F6_E3M2,
          DType.U8,
          DType.I8,
          DType.F8_E5M2,
          DType.F8_E4M3,
          DType.F8_E8M0,
          DType.I16,
          DType.U16,
          DType.F16,
          DType.BF16,
          DType.I32,
          DType.U32,
          DType.F32,
          DType.C64,
          DType.F64,
          DType.I64,
          DType.U64);

  private record Extent(TensorSpec spec, long begin, long bytes) {}

  private final NewFile file;
  private final Path target;
  private final long dataStart;
  private final long dataBytes;
  private final Map<String, Extent> extents;

  /** What was written: runs of data bytes, begin to end, merged where they touch. */
  private final TreeMap<Long, Long> written = new TreeMap<>();

  private SafetensorsWriter(
      NewFile file, Path target, long dataStart, long dataBytes, Map<String, Extent> extents) {
    this.file = file;
    this.target = target;
    this.dataStart = dataStart;
    this.dataBytes = dataBytes;
    this.extents = extents;
  }

  /**
   * Starts a file with the tensors it will have.
   *
   * @param metadata text for the header's {@code __metadata__}; empty for none
   * @throws CheckpointException if a name is there twice or reserved, sizes overflow, the header
   *     would exceed 100,000,000 bytes, or the target cannot be a file
   */
  public static SafetensorsWriter create(
      Path target, List<TensorSpec> tensors, Map<String, String> metadata) throws IOException {
    Map<String, Extent> extents = new HashMap<>();
    List<Extent> ordered = new ArrayList<>();
    long end = 0;
    for (TensorSpec spec : order(tensors)) {
      Extent extent = new Extent(spec, end, size(target, spec));
      if (extents.put(spec.name(), extent) != null) {
        throw new CheckpointException(target, "tensor " + quote(spec.name()) + " is there twice");
      }
      ordered.add(extent);
      try {
        end = Math.addExact(end, extent.bytes());
      } catch (ArithmeticException e) {
        throw new CheckpointException(target, "the size of all tensors overflows", e);
      }
    }
    ByteBuffer header = header(target, ordered, metadata);
    NewFile file = NewFile.create(target);
    try {
      long dataStart = header.remaining();
      file.write(0, header);
      return new SafetensorsWriter(file, target, dataStart, end, extents);
    } catch (Throwable e) {
      file.close();
      throw e;
    }
  }

  /**
   * The same with aliases, which have no bytes: the metadata says what they are.
   *
   * @param tensors all of them, aliases too
   */
  public static SafetensorsWriter create(
      Path target,
      List<TensorSpec> tensors,
      List<TensorAlias> aliases,
      Map<String, String> metadata)
      throws IOException {
    return create(target, owned(tensors, aliases), withAliases(tensors, aliases, metadata));
  }

  static List<TensorSpec> owned(List<TensorSpec> tensors, List<TensorAlias> aliases) {
    Set<String> names = aliases.stream().map(TensorAlias::name).collect(Collectors.toSet());
    return tensors.stream().filter(tensor -> !names.contains(tensor.name())).toList();
  }

  static Map<String, String> withAliases(
      List<TensorSpec> tensors, List<TensorAlias> aliases, Map<String, String> metadata) {
    Map<String, Shape> shapes =
        tensors.stream().collect(Collectors.toMap(TensorSpec::name, TensorSpec::shape));
    return SafetensorsAliases.write(metadata, aliases, shapes);
  }

  private static List<TensorSpec> order(List<TensorSpec> tensors) {
    List<TensorSpec> ordered = new ArrayList<>(tensors);
    ordered.sort(
        Comparator.comparingInt((TensorSpec t) -> -REFERENCE_ORDER.indexOf(t.dtype()))
            .thenComparing(
                t -> t.name().getBytes(StandardCharsets.UTF_8), Arrays::compareUnsigned));
    return ordered;
  }

  private static long size(Path target, TensorSpec spec) throws CheckpointException {
    String what = "tensor " + quote(spec.name()) + " ";
    if (spec.name().equals(SafetensorsHeader.METADATA)) {
      throw new CheckpointException(target, what + "has the name that is kept for metadata");
    }
    if (!REFERENCE_ORDER.contains(spec.dtype())) {
      throw new CheckpointException(
          target, what + "is " + spec.dtype() + ", which safetensors has not; export to .gguf");
    }
    if (!StrictJson.isWellFormed(spec.name())) {
      throw new CheckpointException(target, what + "has a name that is not valid Unicode");
    }
    try {
      return spec.bytes();
    } catch (ArithmeticException | IllegalArgumentException e) {
      throw new CheckpointException(
          target, what + spec.shape() + " of " + spec.dtype() + ": " + e.getMessage(), e);
    }
  }

  private static ByteBuffer header(Path target, List<Extent> ordered, Map<String, String> metadata)
      throws IOException {
    var out = new ByteArrayOutputStream(ALIGNMENT + ENTRY_BYTES * (ordered.size() + 1));
    out.write(new byte[SafetensorsHeader.LENGTH_BYTES]);
    try (JsonGenerator json = new JsonFactory().createGenerator(out)) {
      json.writeStartObject();
      if (!metadata.isEmpty()) {
        json.writeObjectFieldStart(SafetensorsHeader.METADATA);
        for (Map.Entry<String, String> e : new TreeMap<>(metadata).entrySet()) {
          json.writeStringField(e.getKey(), e.getValue());
        }
        json.writeEndObject();
      }
      for (Extent t : ordered) {
        json.writeObjectFieldStart(t.spec().name());
        json.writeStringField("dtype", t.spec().dtype().name());
        json.writeFieldName("shape");
        long[] dims = t.spec().shape().dims();
        json.writeArray(dims, 0, dims.length);
        json.writeFieldName("data_offsets");
        json.writeArray(new long[] {t.begin(), t.begin() + t.bytes()}, 0, 2);
        json.writeEndObject();
      }
      json.writeEndObject();
    }
    while (out.size() % ALIGNMENT != 0) {
      out.write(' ');
    }
    long length = (long) out.size() - SafetensorsHeader.LENGTH_BYTES;
    if (length > SafetensorsHeader.MAX_HEADER_BYTES) {
      throw new CheckpointException(
          target,
          "the header would have "
              + length
              + " bytes, the format's limit is "
              + SafetensorsHeader.MAX_HEADER_BYTES);
    }
    ByteBuffer bytes = ByteBuffer.wrap(out.toByteArray()).order(ByteOrder.LITTLE_ENDIAN);
    return bytes.putLong(0, length);
  }

  /** As {@link CheckpointWriter#write}, in any order; the same bytes may be written again. */
  @Override
  public void write(String tensor, long byteOffset, ByteBuffer data) throws IOException {
    Extent extent = extents.get(tensor);
    if (extent == null) {
      throw new IllegalArgumentException("no tensor " + quote(tensor) + " in " + target);
    }
    int length = data.remaining();
    if (byteOffset < 0 || length > extent.bytes() - byteOffset) {
      throw new IllegalArgumentException(
          "bytes ["
              + byteOffset
              + ", +"
              + length
              + ") of "
              + quote(tensor)
              + ", which has "
              + extent.bytes());
    }
    long begin = extent.begin() + byteOffset;
    file.write(dataStart + begin, data);
    if (length > 0) {
      markWritten(begin, begin + length);
    }
  }

  private synchronized void markWritten(long begin, long end) {
    long from = begin;
    long to = end;
    Map.Entry<Long, Long> before = written.floorEntry(from);
    if (before != null && before.getValue() >= from) {
      from = before.getKey();
      to = Math.max(to, before.getValue());
    }
    Map<Long, Long> touched = written.subMap(from, true, to, true);
    for (long touchedEnd : touched.values()) {
      to = Math.max(to, touchedEnd);
    }
    touched.clear();
    written.put(from, to);
  }

  @Override
  public void finish() throws IOException {
    long first = firstUnwritten();
    if (first < dataBytes) {
      for (Extent e : extents.values()) {
        if (first >= e.begin() && first < e.begin() + e.bytes()) {
          throw new IllegalStateException(
              "byte " + (first - e.begin()) + " of " + quote(e.spec().name()) + " was not written");
        }
      }
    }
    file.commit();
  }

  private synchronized long firstUnwritten() {
    Long end = written.get(0L);
    return end == null ? 0 : end;
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
