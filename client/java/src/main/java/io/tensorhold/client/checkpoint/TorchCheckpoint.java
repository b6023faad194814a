package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.client.checkpoint.PickleValue.Dict;
import io.tensorhold.client.checkpoint.PickleValue.Items;
import io.tensorhold.client.checkpoint.PickleValue.TensorView;
import io.tensorhold.client.checkpoint.PickleValue.Tuple;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32;
import org.jspecify.annotations.Nullable;

/**
 * A file of {@code torch.save}: a zip archive whose {@code data.pkl} describes tensors on the
 * storages {@code data/KEY}.
 *
 * <p>Tensors are found wherever dicts, lists and tuples hold them, and named by the way there: the
 * weight of {@code {"model": {"fc.weight": …}}} is {@code model.fc.weight}. Tensors that share
 * bytes are {@link #aliases}. Values of other kinds are left out.
 */
final class TorchCheckpoint implements Checkpoint {
  private static final int MAX_NAME_CHARS = 4096;

  /**
   * A value can be in many places, and places that hold places make a file of little without end.
   */
  private static final int VISITS_A_BYTE = 4;

  private static final List<String> DIGITS =
      List.of("0", "1", "2", "3", "4", "5", "6", "7", "8", "9");

  /** Views may repeat bytes, such as those of a transposed tensor, but not without end. */
  private static final int MAX_REPETITION = 8;

  private final OpenFile file;
  private final HeapBudget heap;
  private final TensorTable tensors;
  private final List<Named> named = new ArrayList<>();
  private List<TensorAlias> aliases = List.of();

  /** The name of the value that is looked into, and how many more may be. */
  private final StringBuilder path = new StringBuilder();

  private long visits;

  /** A tensor, and the elements of its storage that it has if they lie one after another. */
  private record Named(TensorEntry entry, TensorView view) {
    long begin() {
      return view.offset();
    }

    long end() {
      return view.offset() + entry.shape().elements();
    }
  }

  private TorchCheckpoint(OpenFile file) {
    this.file = file;
    this.heap = new HeapBudget(file.path());
    this.tensors = new TensorTable(file.path());
  }

  static TorchCheckpoint open(Path path) throws IOException {
    OpenFile file = OpenFile.open(path);
    try {
      TorchCheckpoint checkpoint = new TorchCheckpoint(file);
      checkpoint.parse();
      return checkpoint;
    } catch (Throwable e) {
      file.close();
      throw e;
    }
  }

  private void parse() throws IOException {
    ZipRecords records = ZipRecords.parse(file);
    ZipRecords.Entry pickle = records.record("data.pkl");
    if (pickle == null) {
      throw bad("a zip archive without data.pkl: not a file of torch.save");
    }
    checkByteOrder(records.record("byteorder"));
    checkCrc(pickle);
    heap.take(200L * records.count());
    TorchObjects objects = new TorchObjects(file, records);
    PickleValue root = PickleReader.read(file, pickle, objects, heap);
    visits = VISITS_A_BYTE * pickle.length();
    find(root, 0);
    if (named.isEmpty()) {
      throw bad("holds no tensors");
    }
    aliases = findAliases();
    checkRepetition();
  }

  private void checkByteOrder(ZipRecords.@Nullable Entry record) throws IOException {
    if (record == null) {
      return; // files of before PyTorch 2.1 are little-endian
    }
    ByteBuffer text = ByteBuffer.allocate((int) Math.min(16, record.length()));
    file.read(record.start(), text);
    String order = new String(text.array(), StandardCharsets.ISO_8859_1);
    if (record.length() > 16 || !order.equals("little")) {
      throw bad("its byte order is " + quote(order) + ", allowed is \"little\"");
    }
  }

  private void checkCrc(ZipRecords.Entry record) throws IOException {
    CRC32 crc = new CRC32();
    ByteBuffer buffer = ByteBuffer.allocate(1 << 16);
    for (long at = record.start(); at < record.end(); at += buffer.limit()) {
      buffer.clear().limit((int) Math.min(buffer.capacity(), record.end() - at));
      file.read(at, buffer);
      crc.update(buffer.flip());
    }
    if ((int) crc.getValue() != record.crc()) {
      throw bad(
          "data.pkl is damaged: its CRC-32 is %08x, the directory has %08x"
              .formatted(crc.getValue(), record.crc()));
    }
  }

  /** Looks for tensors in a value whose name is {@link #path}. */
  private void find(PickleValue value, int depth) throws IOException {
    if (depth > PickleReader.MAX_DEPTH) {
      throw bad("its values lie in more than " + PickleReader.MAX_DEPTH + " levels");
    }
    if (--visits < 0) {
      throw bad(
          "its values refer to one another so often that they are more than "
              + VISITS_A_BYTE
              + " for each byte of data.pkl");
    }
    switch (value) {
      case TensorView view -> add(path.toString(), view);
      case Dict dict -> {
        for (Map.Entry<Object, PickleValue> entry : dict.entries().entrySet()) {
          int end = path.length();
          Object key = entry.getKey();
          extend(key instanceof String text ? text : key.toString());
          find(entry.getValue(), depth + 1);
          path.setLength(end);
        }
      }
      case Items(List<PickleValue> items) -> findAll(items, depth);
      case Tuple(List<PickleValue> items) -> findAll(items, depth);
      default -> {}
    }
  }

  private void findAll(List<PickleValue> items, int depth) throws IOException {
    for (int i = 0; i < items.size(); i++) {
      int end = path.length();
      extend(i < DIGITS.size() ? DIGITS.get(i) : Integer.toString(i));
      find(items.get(i), depth + 1);
      path.setLength(end);
    }
  }

  private void extend(String key) throws CheckpointException {
    int length = path.length() + 1 + key.length();
    if (length > MAX_NAME_CHARS) {
      throw bad(
          "the name of a value has %d characters, the limit is %d: %s"
              .formatted(length, MAX_NAME_CHARS, quote(path + "." + key)));
    }
    if (!path.isEmpty()) {
      path.append('.');
    }
    path.append(key);
  }

  private void add(String name, TensorView view) throws CheckpointException {
    heap.take(320 + 2L * name.length());
    Shape shape = view.shape();
    TensorEntry entry =
        new TensorEntry(name, view.dtype(), shape, view.dtype().bytes(shape.elements()));
    tensors.add(entry, view.data(file));
    named.add(new Named(entry, view));
  }

  /**
   * Of the tensors that lie one after another in a storage, those that are within another one.
   * Sorted by where they begin, and the longer first, each is compared with the last that is no
   * alias: the one that reaches furthest.
   */
  private List<TensorAlias> findAliases() {
    Map<String, List<Named>> byStorage = new HashMap<>();
    for (Named tensor : named) {
      if (tensor.view.contiguous() && tensor.entry.bytes() > 0) {
        String key = tensor.view.storage().key() + " " + tensor.entry.dtype();
        byStorage.computeIfAbsent(key, k -> new ArrayList<>()).add(tensor);
      }
    }
    Map<String, TensorAlias> found = new HashMap<>();
    for (List<Named> sharing : byStorage.values()) {
      if (sharing.size() == 1) {
        continue;
      }
      sharing.sort( // stable: of equal ones the first of the file has the bytes
          Comparator.comparingLong(Named::begin)
              .thenComparing(Named::end, Comparator.reverseOrder()));
      Named owner = sharing.getFirst();
      for (Named tensor : sharing.subList(1, sharing.size())) {
        if (tensor.end() <= owner.end()) {
          String name = tensor.entry.name();
          long first = tensor.begin() - owner.begin();
          found.put(name, new TensorAlias(name, owner.entry.name(), first));
        } else {
          owner = tensor;
        }
      }
    }
    return named.stream().map(t -> found.get(t.entry.name())).filter(a -> a != null).toList();
  }

  private void checkRepetition() throws CheckpointException {
    long bytes = 0;
    long limit = MAX_REPETITION * file.size();
    for (Named tensor : named) {
      bytes +=
          tensor.entry.bytes(); // each is at most its storage, so this is long before a long's end
    }
    Map<String, Long> ofAlias = new HashMap<>();
    named.forEach(t -> ofAlias.put(t.entry.name(), t.entry.bytes()));
    for (TensorAlias alias : aliases) {
      bytes -= ofAlias.getOrDefault(alias.name(), 0L);
    }
    if (bytes > limit) {
      throw bad(
          "its tensors, which overlap, have %d bytes in all; the limit is %d times the file, %d"
              .formatted(bytes, MAX_REPETITION, limit));
    }
  }

  @Override
  public String format() {
    return "pt";
  }

  @Override
  public List<TensorEntry> tensors() {
    return tensors.entries();
  }

  @Override
  public List<TensorAlias> aliases() {
    return aliases;
  }

  @Override
  public Map<String, String> metadata() {
    return Map.of();
  }

  @Override
  public void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException {
    tensors.read(tensor, byteOffset, dst);
  }

  private CheckpointException bad(String problem) {
    return new CheckpointException(file.path(), problem);
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
