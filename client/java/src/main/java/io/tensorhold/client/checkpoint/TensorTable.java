package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The tensors of one checkpoint by name, each with where its bytes are. */
final class TensorTable {
  private record Row(TensorEntry entry, TensorData data) {}

  private final Path path;
  private final List<TensorEntry> entries = new ArrayList<>();
  private final Map<String, Row> rows = new HashMap<>();

  TensorTable(Path path) {
    this.path = path;
  }

  void add(TensorEntry entry, TensorData data) throws CheckpointException {
    if (entries.size() == SafetensorsHeader.MAX_TENSORS) {
      throw new CheckpointException(
          path, "more than " + SafetensorsHeader.MAX_TENSORS + " tensors");
    }
    if (rows.put(entry.name(), new Row(entry, data)) != null) {
      throw new CheckpointException(path, "tensor " + quote(entry.name()) + " is there twice");
    }
    entries.add(entry);
  }

  boolean contains(String name) {
    return rows.containsKey(name);
  }

  List<TensorEntry> entries() {
    return Collections.unmodifiableList(entries);
  }

  /** As {@link Checkpoint#read}. */
  void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException {
    Row row = rows.get(tensor.name());
    if (row == null || !row.entry().equals(tensor)) {
      throw new IllegalArgumentException("not a tensor of " + path + ": " + tensor);
    }
    if (byteOffset < 0 || dst.remaining() > tensor.bytes() - byteOffset) {
      throw new IllegalArgumentException(
          "bytes [" + byteOffset + ", +" + dst.remaining() + ") are not all within " + tensor);
    }
    row.data().read(byteOffset, dst);
  }
}
