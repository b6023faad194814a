package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.client.checkpoint.PickleValue.Dict;
import io.tensorhold.client.checkpoint.PickleValue.Global;
import io.tensorhold.client.checkpoint.PickleValue.Items;
import io.tensorhold.client.checkpoint.PickleValue.None;
import io.tensorhold.client.checkpoint.PickleValue.Scalar;
import io.tensorhold.client.checkpoint.PickleValue.Tuple;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.util.ArrayList;
import java.util.List;

/**
 * A pickle of protocol 2 read as data. A pickle is a program of a stack machine; only the opcodes
 * that {@code torch.load(weights_only=True)} takes are known here, and the names that it may
 * mention and the calls that it may make are those of {@link TorchObjects}: nothing is imported or
 * run.
 *
 * <p>Time is bounded by the opcodes, memory by {@link HeapBudget}, whatever the file says. Memo
 * entries must be made one after another, as every pickler does.
 */
final class PickleReader {
  static final int MAX_OPCODES = 8_000_000;
  static final int MAX_DEPTH = 64;
  static final int MAX_STACK = 1 << 20;
  static final int MAX_TEXT_BYTES = 1 << 20;
  private static final int MAX_LINE_BYTES = 256;
  private static final int PROTOCOL = 2;
  private static final None NONE = new None();

  private final OpenFile file;
  private final ZipRecords.Entry record;
  private final FileBytes in;
  private final TorchObjects objects;
  private final HeapBudget heap;
  private final ArrayList<PickleValue> memo = new ArrayList<>();
  private final ArrayList<PickleValue> stack = new ArrayList<>();

  /** Heights of the stack at the marks that are open. */
  private final ArrayList<Integer> marks = new ArrayList<>();

  private PickleReader(
      OpenFile file, ZipRecords.Entry record, TorchObjects objects, HeapBudget heap) {
    this.file = file;
    this.record = record;
    this.in = new FileBytes(file, record.start(), record.end());
    this.objects = objects;
    this.heap = heap;
  }

  /** The object that a record holds. */
  static PickleValue read(
      OpenFile file, ZipRecords.Entry record, TorchObjects objects, HeapBudget heap)
      throws IOException {
    try {
      return new PickleReader(file, record, objects, heap).run();
    } catch (EOFException e) {
      throw new CheckpointException(file.path(), "data.pkl ends within a value", e);
    } catch (CharacterCodingException e) {
      throw new CheckpointException(file.path(), "data.pkl has a text that is not UTF-8", e);
    }
  }

  private PickleValue run() throws IOException {
    if (in.u1() != 0x80 || in.u1() != PROTOCOL) {
      throw bad("is not a pickle of protocol " + PROTOCOL);
    }
    for (int count = 1; count <= MAX_OPCODES; count++) {
      int opcode = in.u1();
      if (opcode == '.') {
        PickleValue value = pop();
        if (!stack.isEmpty() || !marks.isEmpty() || in.left() > 0) {
          throw bad("goes on after its value");
        }
        return value;
      }
      step(opcode);
      if (stack.size() > MAX_STACK || marks.size() > MAX_DEPTH) {
        throw bad(
            "has %d values and %d marks on its stack, the limit is %d and %d"
                .formatted(stack.size(), marks.size(), MAX_STACK, MAX_DEPTH));
      }
    }
    throw bad("has more than " + MAX_OPCODES + " opcodes");
  }

  private void step(int opcode) throws IOException {
    switch (opcode) {
      case '(' -> marks.add(stack.size());
      case '}' -> stack.add(charged(64, new Dict()));
      case ']' -> stack.add(charged(64, new Items(new ArrayList<>(0))));
      case ')' -> stack.add(new Tuple(List.of()));
      case 't' -> stack.add(tuple(sinceMark()));
      case 0x85, 0x86, 0x87 -> stack.add(tuple(take(opcode - 0x84)));
      case 'N' -> stack.add(NONE);
      case 0x88 -> scalar(true);
      case 0x89 -> scalar(false);
      case 'J' -> scalar((long) in.i4());
      case 'K' -> scalar((long) in.u1());
      case 'M' -> scalar((long) in.u2());
      case 0x8a -> scalar(long1());
      case 'G' -> scalar(Double.longBitsToDouble(Long.reverseBytes(in.i8())));
      case 'X' -> text(in.u4());
      case 'U' -> text(in.u1());
      case 'c' -> {
        String module = line();
        String name = line();
        stack.add(objects.global(module + "." + name));
      }
      case 'R' -> {
        Tuple arguments = pop(Tuple.class, "REDUCE", "a tuple");
        Global callable = pop(Global.class, "REDUCE", "a name");
        stack.add(charged(96, objects.call(callable, arguments.items())));
      }
      case 'Q' -> stack.add(charged(64, objects.persistent(pop())));
      case 'b' -> build();
      case 'a' -> append(take(1));
      case 'e' -> append(sinceMark());
      case 's' -> setItems(take(2));
      case 'u' -> setItems(sinceMark());
      case 'q' -> put(in.u1());
      case 'r' -> put(in.u4());
      case 'h' -> get(in.u1());
      case 'j' -> get(in.u4());
      default ->
          throw bad(
              "has the opcode 0x%02x, which torch.load(weights_only=True) does not take"
                  .formatted(opcode));
    }
  }

  private void scalar(Object value) throws CheckpointException {
    stack.add(charged(40, new Scalar(value)));
  }

  private void text(long length) throws IOException {
    if (length > MAX_TEXT_BYTES) {
      throw bad("has a text of %d bytes, the limit is %d".formatted(length, MAX_TEXT_BYTES));
    }
    heap.take(72 + 2 * length);
    stack.add(new Scalar(in.text((int) length)));
  }

  /** A number in two's complement, after its length. */
  private long long1() throws IOException {
    int length = in.u1();
    if (length > Long.BYTES) {
      throw bad("has a number of " + length + " bytes, the limit is " + Long.BYTES);
    }
    long value = 0;
    for (int i = 0; i < length; i++) {
      value |= (long) in.u1() << (8 * i);
    }
    int spare = Long.SIZE - 8 * length;
    return length == 0 ? 0 : value << spare >> spare;
  }

  /** Characters up to the end of a line, which is taken too. */
  private String line() throws IOException {
    StringBuilder line = new StringBuilder();
    for (int c = in.u1(); c != '\n'; c = in.u1()) {
      if (line.length() == MAX_LINE_BYTES) {
        throw bad("mentions a name of more than " + MAX_LINE_BYTES + " bytes");
      }
      line.append((char) c);
    }
    return line.toString();
  }

  /** {@code OrderedDict} carries its attributes this way; those of a state dict are not tensors. */
  private void build() throws CheckpointException {
    pop();
    if (!(peek() instanceof Dict)) {
      throw bad("sets attributes (BUILD) of " + TorchObjects.describe(peek()));
    }
  }

  private void append(List<PickleValue> values) throws CheckpointException {
    if (!(peek() instanceof Items list)) {
      throw bad("appends to " + TorchObjects.describe(peek()) + ", not to a list");
    }
    heap.take(8L * values.size());
    list.items().addAll(values);
  }

  private void setItems(List<PickleValue> values) throws CheckpointException {
    if (!(peek() instanceof Dict dict)) {
      throw bad("sets items (SETITEM) of " + TorchObjects.describe(peek()) + ", not of a dict");
    }
    if (values.size() % 2 != 0) {
      throw bad("sets a key of a dict without a value");
    }
    for (int i = 0; i < values.size(); i += 2) {
      if (!(values.get(i) instanceof Scalar(Object key)) || key instanceof Double) {
        throw bad(
            "a key of a dict is %s, allowed are texts and whole numbers"
                .formatted(TorchObjects.describe(values.get(i))));
      }
      if (dict.entries().containsKey(key)) {
        throw bad("a dict has the key " + quote(key.toString()) + " twice");
      }
      heap.take(64);
      dict.put(key, values.get(i + 1));
    }
  }

  private void put(long index) throws CheckpointException {
    if (index > memo.size()) {
      throw bad(
          "makes memo entry %d when there are %d: they are made in order"
              .formatted(index, memo.size()));
    }
    if (index < memo.size()) {
      memo.set((int) index, peek());
    } else {
      heap.take(8);
      memo.add(peek());
    }
  }

  private void get(long index) throws CheckpointException {
    if (index >= memo.size()) {
      throw bad("takes memo entry %d of %d".formatted(index, memo.size()));
    }
    stack.add(memo.get((int) index));
  }

  private Tuple tuple(List<PickleValue> items) throws CheckpointException {
    return charged(64 + 8L * items.size(), new Tuple(items));
  }

  private <T> T charged(long bytes, T value) throws CheckpointException {
    heap.take(bytes);
    return value;
  }

  private List<PickleValue> sinceMark() throws CheckpointException {
    if (marks.isEmpty()) {
      throw bad("looks for a mark that was never set");
    }
    return cut(marks.removeLast());
  }

  private List<PickleValue> take(int count) throws CheckpointException {
    int floor = marks.isEmpty() ? 0 : marks.getLast();
    if (stack.size() - floor < count) {
      throw bad("takes more values from its stack than there are");
    }
    return cut(stack.size() - count);
  }

  private List<PickleValue> cut(int from) {
    List<PickleValue> tail = stack.subList(from, stack.size());
    List<PickleValue> values = List.copyOf(tail);
    tail.clear();
    return values;
  }

  private PickleValue peek() throws CheckpointException {
    if (stack.isEmpty() || (!marks.isEmpty() && marks.getLast() == stack.size())) {
      throw bad("takes more values from its stack than there are");
    }
    return stack.getLast();
  }

  private PickleValue pop() throws CheckpointException {
    peek();
    return stack.removeLast();
  }

  private <T extends PickleValue> T pop(Class<T> type, String opcode, String expected)
      throws CheckpointException {
    PickleValue value = pop();
    if (!type.isInstance(value)) {
      throw bad("%s takes %s, found %s".formatted(opcode, expected, TorchObjects.describe(value)));
    }
    return type.cast(value);
  }

  private CheckpointException bad(String problem) {
    return new CheckpointException(
        file.path(), "data.pkl, byte %d: %s".formatted(in.position() - record.start(), problem));
  }
}
