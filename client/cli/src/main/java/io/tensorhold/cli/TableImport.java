package io.tensorhold.cli;

import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.Operation;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/** Pushes the rows of a file of {@link TableExport} to a table, some at a time. */
final class TableImport {
  private static final int BATCH_BYTES = 4 << 20;
  private static final int STEP_BYTES = 4;

  /** Values of optimizer state for each weight, at most: no optimizer has as many. */
  private static final int MOST_STATE = 8;

  private final TensorholdClient client;
  private final Checkpoint file;
  private final LongConsumer progress;

  /** An import that tells its progress in rows. */
  TableImport(TensorholdClient client, Checkpoint file, LongConsumer progress) {
    this.client = client;
    this.file = file;
    this.progress = progress;
  }

  /** Tensors of whole rows. */
  private record StateColumns(TensorEntry steps, TensorEntry weights, @Nullable TensorEntry state) {
    int stateBytes(long rows) {
      return state == null ? 0 : Math.toIntExact(state.bytes() / Math.max(1, rows));
    }
  }

  /** How many rows a file has. */
  static long rows(Checkpoint file) {
    return file.tensors().stream()
        .filter(tensor -> tensor.name().equals(TableFile.KEYS))
        .mapToLong(tensor -> tensor.shape().elements())
        .findFirst()
        .orElseThrow(() -> new CliFailure("the file has no tensor keys: it holds no table"));
  }

  /**
   * Pushes the rows; with their optimizer state and steps if the file has them.
   *
   * @return whether it has
   */
  boolean into(Table table) throws IOException {
    long rows = rows(file);
    TensorEntry keys = required(TableFile.KEYS, DType.I64, rows, 1);
    DType dtype =
        file.tensors().stream()
            .filter(tensor -> tensor.name().equals(TableFile.VALUES))
            .map(TensorEntry::dtype)
            .findFirst()
            .orElse(DType.F32);
    if (!dtype.computable()) {
      throw new CliFailure(
          "tensor values of the file: value=%s allowed=F32, F16, BF16".formatted(dtype));
    }
    TensorEntry values = required(TableFile.VALUES, dtype, rows, table.dim());
    StateColumns state = state(table, rows, values);
    long rowBytes = Math.max(4L * table.dim(), state == null ? 0 : whole(table, state, rows));
    int most = Math.clamp(BATCH_BYTES / (rowBytes + Long.BYTES), 1, 1 << 16);
    boolean checkpointed =
        table.model().model().getSpec().getDurability() == Durability.CHECKPOINTED;
    try (Session session = client.openSession("import " + table.model().name())) {
      for (long from = 0; from < rows; from += most) {
        int count = (int) Math.min(most, rows - from);
        long[] batch = new long[count];
        read(keys, from, count).asLongBuffer().get(batch);
        if (state == null) {
          var _ = session.pushRows(table, Operation.ASSIGN, batch, values(values, from, count));
        } else {
          var _ = session.restoreRows(table, batch, wholeRows(table, state, rows, from, count));
        }
        progress.accept(count);
        if (checkpointed) { // until then its leaders hold the rows in memory
          session.flush();
          client.checkpoint(table.model());
        }
      }
      session.flush();
    }
    return state != null;
  }

  private TensorEntry required(String name, DType dtype, long rows, long elements) {
    TensorEntry tensor = TableFile.find(file, name, dtype, rows, elements);
    if (tensor == null) {
      throw new CliFailure("the file has no tensor %s: it holds no table".formatted(name));
    }
    return tensor;
  }

  /** What whole rows are made of; null: the file has no state. */
  private @Nullable StateColumns state(Table table, long rows, TensorEntry values) {
    TensorEntry steps = TableFile.find(file, TableFile.STEPS, DType.U32, rows, 1);
    if (steps == null) {
      return null;
    }
    Codec codec = table.codec();
    boolean plain = TableFile.plain(codec) && values.dtype() == TableFile.dtype(codec);
    TensorEntry weights =
        plain
            ? values
            : TableFile.find(file, TableFile.STORED, DType.U8, rows, table.rowBytes(codec));
    if (weights == null) {
      throw new CliFailure(
          "the file has the optimizer state of rows of another form than %s: import it into a table of that form, or create none before"
              .formatted(table));
    }
    TensorEntry state =
        file.tensors().stream()
            .filter(tensor -> tensor.name().equals(TableFile.STATE))
            .findFirst()
            .orElse(null);
    if (state != null && rows > 0) {
      long bytes = state.bytes() / rows;
      if (bytes > MOST_STATE * 4L * table.dim()) {
        throw new CliFailure(
            "optimizer state of a row of the file: value=%d bytes limit=%d"
                .formatted(bytes, MOST_STATE * 4L * table.dim()));
      }
      state = TableFile.find(file, TableFile.STATE, DType.U8, rows, bytes);
    }
    return new StateColumns(steps, weights, state);
  }

  private static int whole(Table table, StateColumns columns, long rows) {
    return STEP_BYTES + Math.toIntExact(table.rowBytes(table.codec())) + columns.stateBytes(rows);
  }

  private MemorySegment wholeRows(
      Table table, StateColumns columns, long rows, long from, int count) throws IOException {
    int weightBytes = Math.toIntExact(table.rowBytes(table.codec()));
    int stateBytes = columns.stateBytes(rows);
    int rowBytes = whole(table, columns, rows);
    MemorySegment out = MemorySegment.ofArray(new byte[Math.multiplyExact(count, rowBytes)]);
    copy(columns.steps, from, count, out, rowBytes, 0, STEP_BYTES);
    copy(columns.weights, from, count, out, rowBytes, STEP_BYTES, weightBytes);
    if (columns.state != null) {
      copy(columns.state, from, count, out, rowBytes, STEP_BYTES + weightBytes, stateBytes);
    }
    return out;
  }

  private void copy(
      TensorEntry tensor, long from, int count, MemorySegment out, int rowBytes, int at, int bytes)
      throws IOException {
    MemorySegment column = MemorySegment.ofBuffer(read(tensor, from, count));
    for (int i = 0; i < count; i++) {
      MemorySegment.copy(column, (long) i * bytes, out, (long) i * rowBytes + at, bytes);
    }
  }

  private float[] values(TensorEntry tensor, long from, int count) throws IOException {
    MemorySegment stored = MemorySegment.ofBuffer(read(tensor, from, count));
    Codec codec = Codec.nativeOf(tensor.dtype());
    int elements = Math.toIntExact(stored.byteSize() / codec.bytes(tensor.dtype(), 1));
    MemorySegment decoded = MemorySegment.ofBuffer(ByteBuffer.allocateDirect(4 * elements));
    codec.decode(Kernels.best(), stored, 0, decoded, 0, elements);
    return decoded.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN));
  }

  /** A tensor's part of some rows. */
  private ByteBuffer read(TensorEntry tensor, long from, int count) throws IOException {
    long rowBytes = tensor.bytes() / rows(file);
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(Math.toIntExact(count * rowBytes)).order(ByteOrder.LITTLE_ENDIAN);
    file.read(tensor, from * rowBytes, bytes);
    return bytes.flip();
  }
}
