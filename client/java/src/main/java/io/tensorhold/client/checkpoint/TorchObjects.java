package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.client.checkpoint.PickleValue.Dict;
import io.tensorhold.client.checkpoint.PickleValue.Global;
import io.tensorhold.client.checkpoint.PickleValue.Items;
import io.tensorhold.client.checkpoint.PickleValue.None;
import io.tensorhold.client.checkpoint.PickleValue.Scalar;
import io.tensorhold.client.checkpoint.PickleValue.Storage;
import io.tensorhold.client.checkpoint.PickleValue.TensorView;
import io.tensorhold.client.checkpoint.PickleValue.Tuple;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The names that a pickle of PyTorch may mention, and what calling them means: the containers of a
 * state dict and tensors on storages. Every other name is refused.
 */
final class TorchObjects {
  static final String ORDERED_DICT = "collections.OrderedDict";
  private static final String SIZE = "torch.Size";
  static final String TENSOR = "torch._utils._rebuild_tensor_v2";
  static final String TENSOR_OF_DTYPE = "torch._utils._rebuild_tensor_v3";
  private static final String PARAMETER = "torch._utils._rebuild_parameter";
  static final String UNTYPED = "torch.storage.UntypedStorage";

  private static final Map<String, Global> KNOWN = new HashMap<>();

  /** Storage types by name; the untyped one has no dtype and is not among them. */
  static final Map<DType, String> STORAGES =
      Map.ofEntries(
          Map.entry(DType.F64, "torch.DoubleStorage"),
          Map.entry(DType.F32, "torch.FloatStorage"),
          Map.entry(DType.F16, "torch.HalfStorage"),
          Map.entry(DType.BF16, "torch.BFloat16Storage"),
          Map.entry(DType.I64, "torch.LongStorage"),
          Map.entry(DType.I32, "torch.IntStorage"),
          Map.entry(DType.I16, "torch.ShortStorage"),
          Map.entry(DType.I8, "torch.CharStorage"),
          Map.entry(DType.U8, "torch.ByteStorage"),
          Map.entry(DType.BOOL, "torch.BoolStorage"),
          Map.entry(DType.C64, "torch.ComplexFloatStorage"));

  /** Dtypes by name; those without a storage type of their own lie in untyped storages. */
  static final Map<DType, String> DTYPES =
      Map.ofEntries(
          Map.entry(DType.F64, "torch.float64"),
          Map.entry(DType.F32, "torch.float32"),
          Map.entry(DType.F16, "torch.float16"),
          Map.entry(DType.BF16, "torch.bfloat16"),
          Map.entry(DType.I64, "torch.int64"),
          Map.entry(DType.I32, "torch.int32"),
          Map.entry(DType.I16, "torch.int16"),
          Map.entry(DType.I8, "torch.int8"),
          Map.entry(DType.U8, "torch.uint8"),
          Map.entry(DType.BOOL, "torch.bool"),
          Map.entry(DType.C64, "torch.complex64"),
          Map.entry(DType.U16, "torch.uint16"),
          Map.entry(DType.U32, "torch.uint32"),
          Map.entry(DType.U64, "torch.uint64"),
          Map.entry(DType.F8_E4M3, "torch.float8_e4m3fn"),
          Map.entry(DType.F8_E5M2, "torch.float8_e5m2"),
          Map.entry(DType.F8_E8M0, "torch.float8_e8m0fnu"));

  private static final Map<String, DType> STORAGE_DTYPES = new HashMap<>();
  private static final Map<String, DType> DTYPES_BY_NAME = new HashMap<>();

  static {
    for (String name : List.of(ORDERED_DICT, SIZE, TENSOR, TENSOR_OF_DTYPE, PARAMETER, UNTYPED)) {
      KNOWN.put(name, new Global(name));
    }
    STORAGES.forEach((dtype, name) -> STORAGE_DTYPES.put(name, dtype));
    DTYPES.forEach((dtype, name) -> DTYPES_BY_NAME.put(name, dtype));
    STORAGE_DTYPES.keySet().forEach(name -> KNOWN.put(name, new Global(name)));
    DTYPES_BY_NAME.keySet().forEach(name -> KNOWN.put(name, new Global(name)));
  }

  private final OpenFile file;
  private final ZipRecords records;

  /** One object for each storage: tensors that name it share it. */
  private final Map<String, Storage> storages = new HashMap<>();

  TorchObjects(OpenFile file, ZipRecords records) {
    this.file = file;
    this.records = records;
  }

  Global global(String name) throws CheckpointException {
    Global known = KNOWN.get(name);
    if (known == null) {
      throw bad(
          "mentions "
              + quote(name)
              + ", which is not one of the names that a file of tensors needs; nothing of it was"
              + " run");
    }
    return known;
  }

  PickleValue call(Global callable, List<PickleValue> arguments) throws CheckpointException {
    return switch (callable.name()) {
      case ORDERED_DICT -> {
        count(callable, arguments, 0, 0);
        yield new Dict();
      }
      case SIZE -> {
        count(callable, arguments, 1, 1);
        yield new Tuple(tuple("torch.Size", arguments.getFirst()));
      }
      case PARAMETER -> {
        count(callable, arguments, 3, 3);
        if (!(arguments.getFirst() instanceof TensorView tensor)) {
          throw bad("a parameter is made of " + describe(arguments.getFirst()));
        }
        yield tensor;
      }
      case TENSOR -> {
        count(callable, arguments, 6, 7);
        yield tensor(arguments, null, arguments.size() == 7 ? arguments.get(6) : null);
      }
      case TENSOR_OF_DTYPE -> {
        count(callable, arguments, 7, 8);
        DType dtype =
            arguments.get(6) instanceof Global(String name) ? DTYPES_BY_NAME.get(name) : null;
        if (dtype == null) {
          throw bad("a tensor's dtype is " + describe(arguments.get(6)));
        }
        yield tensor(arguments, dtype, arguments.size() == 8 ? arguments.get(7) : null);
      }
      default -> throw bad("calls " + quote(callable.name()) + ", which is not to be called");
    };
  }

  private void count(Global callable, List<PickleValue> arguments, int least, int most)
      throws CheckpointException {
    if (arguments.size() < least || arguments.size() > most) {
      throw bad(
          "calls %s with %d arguments, expected %d to %d"
              .formatted(callable.name(), arguments.size(), least, most));
    }
  }

  /** The storage of a persistent id: ("storage", type, key, location, elements). */
  Storage persistent(PickleValue id) throws CheckpointException {
    if (!(id instanceof Tuple(List<PickleValue> parts))
        || parts.size() != 5
        || !(parts.get(0) instanceof Scalar(Object kind) && kind.equals("storage"))
        || !(parts.get(1) instanceof Global(String type))
        || !(parts.get(2) instanceof Scalar(String key))
        || !(parts.get(4) instanceof Scalar(Long elements))) {
      throw bad("a persistent id is not (\"storage\", type, key, location, elements)");
    }
    DType dtype = STORAGE_DTYPES.get(type);
    if (dtype == null && !type.equals(UNTYPED)) {
      throw bad(quote(type) + " is not a type of storages");
    }
    ZipRecords.Entry record = records.record("data/" + key);
    if (record == null) {
      throw bad("the storage " + quote(key) + " has no record data/" + quote(key));
    }
    long width = dtype == null ? 1 : dtype.bytes(1);
    if (elements < 0
        || Math.multiplyHigh(elements, width) != 0
        || elements * width != record.length()) {
      throw bad(
          "the storage %s has %d elements of %d bytes, its record has %d bytes"
              .formatted(quote(key), elements, width, record.length()));
    }
    Storage known = storages.computeIfAbsent(key, k -> new Storage(k, dtype, record));
    if (known.dtype() != dtype) {
      throw bad("the storage " + quote(key) + " is said to be of two types");
    }
    return known;
  }

  private TensorView tensor(
      List<PickleValue> arguments, @Nullable DType given, @Nullable PickleValue metadata)
      throws CheckpointException {
    if (!(arguments.get(0) instanceof Storage storage)) {
      throw bad("a tensor is made on " + describe(arguments.get(0)) + ", not on a storage");
    }
    DType dtype = given != null ? given : storage.dtype();
    if (dtype == null) {
      throw bad("a tensor on the untyped storage " + quote(storage.key()) + " has no dtype");
    }
    if (!(arguments.get(1) instanceof Scalar(Long offset)) || offset < 0) {
      throw bad("a tensor's offset is " + describe(arguments.get(1)));
    }
    if (!(arguments.get(5) instanceof Dict hooks) || !hooks.entries().isEmpty()) {
      throw bad("a tensor has hooks: " + describe(arguments.get(5)));
    }
    if (metadata != null
        && !(metadata instanceof None)
        && !(metadata instanceof Dict dict && dict.entries().isEmpty())) {
      throw bad("a tensor is said to be conjugated, negated, or otherwise not as its bytes are");
    }
    long[] dims = numbers("a tensor's size", arguments.get(2));
    long[] strides = numbers("a tensor's strides", arguments.get(3));
    if (dims.length != strides.length) {
      throw bad("a tensor has " + dims.length + " dimensions and " + strides.length + " strides");
    }
    Shape shape = checkExtent(storage, dtype, offset, dims, strides);
    return new TensorView(storage, dtype, offset, shape, strides);
  }

  /** Every element must lie in the storage, and there must not be more of them than it has. */
  private Shape checkExtent(Storage storage, DType dtype, long offset, long[] dims, long[] strides)
      throws CheckpointException {
    long there = storage.record().length() / dtype.bytes(1);
    Shape shape;
    long elements;
    long last = offset;
    try {
      shape = Shape.of(dims);
      elements = shape.elements();
      for (int d = 0; d < dims.length && elements > 0; d++) {
        last = Math.addExact(last, Math.multiplyExact(dims[d] - 1, strides[d]));
      }
    } catch (ArithmeticException | IllegalArgumentException e) {
      throw bad("a tensor's size overflows: " + java.util.Arrays.toString(dims));
    }
    if (elements > 0 && last >= there) {
      throw bad(
          "a tensor reaches to element %d of the storage %s, which has %d"
              .formatted(last, quote(storage.key()), there));
    }
    if (elements > there) {
      throw bad(
          "a tensor of %d elements is expanded from the %d of the storage %s: save it as"
                  .formatted(elements, there, quote(storage.key()))
              + " tensor.contiguous()");
    }
    return shape;
  }

  private long[] numbers(String what, PickleValue value) throws CheckpointException {
    List<PickleValue> items = tuple(what, value);
    if (items.size() > Shape.MAX_RANK) {
      throw bad(what + " has " + items.size() + " numbers, the limit is " + Shape.MAX_RANK);
    }
    long[] numbers = new long[items.size()];
    for (int i = 0; i < numbers.length; i++) {
      if (!(items.get(i) instanceof Scalar(Long number)) || number < 0) {
        throw bad(what + " has " + describe(items.get(i)) + ", allowed are numbers from 0 on");
      }
      numbers[i] = number;
    }
    return numbers;
  }

  private List<PickleValue> tuple(String what, PickleValue value) throws CheckpointException {
    if (value instanceof Tuple(List<PickleValue> items)) {
      return items;
    }
    throw bad(what + " is " + describe(value) + ", not a tuple");
  }

  static String describe(PickleValue value) {
    return switch (value) {
      case None _ -> "None";
      case Scalar(String text) -> "the text " + quote(text);
      case Scalar(Object scalar) -> scalar.toString();
      case Tuple(List<PickleValue> items) -> "a tuple of " + items.size();
      case Items(var items) -> "a list of " + items.size();
      case Dict _ -> "a dict";
      case Global(String name) -> quote(name);
      case Storage _ -> "a storage";
      case TensorView _ -> "a tensor";
    };
  }

  private CheckpointException bad(String problem) {
    return new CheckpointException(file.path(), "data.pkl " + problem);
  }
}
