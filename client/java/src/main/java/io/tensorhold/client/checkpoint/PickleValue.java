package io.tensorhold.client.checkpoint;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What a pickle of PyTorch can hold, as data: nothing of it runs. */
sealed interface PickleValue {
  /** None. */
  record None() implements PickleValue {}

  /** A bool, an int of 64 bits, a float or a text: Boolean, Long, Double or String. */
  record Scalar(Object value) implements PickleValue {}

  /** A tuple. */
  record Tuple(List<PickleValue> items) implements PickleValue {}

  /** A list, which may still grow. */
  record Items(ArrayList<PickleValue> items) implements PickleValue {}

  /** A dict or an OrderedDict, which may still grow; keys are Boolean, Long or String. */
  final class Dict implements PickleValue {
    private @Nullable Map<Object, PickleValue> entries;

    Map<Object, PickleValue> entries() {
      return entries == null ? Map.of() : entries;
    }

    void put(Object key, PickleValue value) {
      if (entries == null) {
        entries = new LinkedHashMap<>();
      }
      entries.put(key, value);
    }
  }

  /** A name of Python's that is known, such as {@code torch.FloatStorage}. */
  record Global(String name) implements PickleValue {}

  /**
   * A run of bytes that tensors lie in: a record of the archive.
   *
   * @param dtype of its elements; null: untyped
   */
  record Storage(String key, @Nullable DType dtype, ZipRecords.Entry record)
      implements PickleValue {}

  /** A view of a storage; offset and strides are in elements, and all of it is in the storage. */
  final class TensorView implements PickleValue {
    private final Storage storage;
    private final DType dtype;
    private final long offset;
    private final Shape shape;
    private final long[] strides;

    TensorView(Storage storage, DType dtype, long offset, Shape shape, long[] strides) {
      this.storage = storage;
      this.dtype = dtype;
      this.offset = offset;
      this.shape = shape;
      this.strides = strides;
    }

    Storage storage() {
      return storage;
    }

    DType dtype() {
      return dtype;
    }

    long offset() {
      return offset;
    }

    Shape shape() {
      return shape;
    }

    /** Whether its elements lie one after another, row-major. */
    boolean contiguous() {
      long expected = 1;
      for (int d = strides.length - 1; d >= 0; d--) {
        if (shape.dim(d) != 1 && strides[d] != expected) {
          return false;
        }
        expected *= shape.dim(d);
      }
      return true;
    }

    /** Its bytes in a file. */
    TensorData data(OpenFile file) {
      int width = (int) dtype.bytes(1);
      long start = storage.record().start() + offset * width;
      if (shape.elements() == 0) {
        return new TensorData.Empty();
      }
      return contiguous()
          ? new TensorData.Plain(file, start)
          : new StridedData(file, start, width, shape.dims(), strides);
    }
  }
}
