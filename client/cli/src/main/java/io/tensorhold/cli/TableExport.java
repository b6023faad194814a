package io.tensorhold.cli;

import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.SafetensorsWriter;
import io.tensorhold.client.checkpoint.TensorSpec;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes the rows of a table to a file. How many there are is known when all have come, and the
 * file's header says it, so the rows wait in a file beside it, which is removed at the end. Memory
 * is bounded, whatever the size of the table.
 */
final class TableExport {
  private static final int CHUNK_BYTES = 4 << 20;

  private final TensorholdClient client;
  private final Table table;
  private final boolean withState;
  private final int weightBytes;
  private long rows;
  private int wholeBytes;

  TableExport(TensorholdClient client, Table table, boolean withState) {
    this.client = client;
    this.table = table;
    this.withState = withState;
    this.weightBytes = Math.toIntExact(table.rowBytes(table.codec()));
    this.wholeBytes = STEP_BYTES + weightBytes;
  }

  private static final int STEP_BYTES = 4;

  /** A run of bytes of each spooled row that becomes a tensor, decoded if need be. */
  private record Column(
      String name, DType dtype, int elements, int at, int bytes, boolean decoded) {
    TensorSpec spec(long rows) {
      Shape shape = elements == 1 ? Shape.of(rows) : Shape.of(rows, elements);
      return new TensorSpec(name, dtype, shape);
    }

    int outBytes() {
      return Math.toIntExact(dtype.bytes(elements));
    }
  }

  /** Writes the file; gives the number of rows. */
  long write(Path target) throws IOException {
    Path folder = target.toAbsolutePath().getParent();
    if (folder == null || !Files.isDirectory(folder)) {
      throw new CliFailure("there is no folder to write %s in".formatted(target));
    }
    Path spool = Files.createTempFile(folder, "." + target.getFileName() + ".", ".rows");
    try (FileChannel rowsFile =
        FileChannel.open(
            spool,
            StandardOpenOption.READ,
            StandardOpenOption.WRITE,
            StandardOpenOption.DELETE_ON_CLOSE)) {
      client.scan(table).whole((keys, whole) -> spool(rowsFile, keys, whole));
      List<Column> columns = columns();
      List<TensorSpec> specs = columns.stream().map(column -> column.spec(rows)).toList();
      try (SafetensorsWriter writer =
          SafetensorsWriter.create(target, specs, TableFile.metadata(table))) {
        fill(rowsFile, writer, columns);
        writer.finish();
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    } finally {
      Files.deleteIfExists(spool);
    }
    return rows;
  }

  private void spool(FileChannel file, long[] keys, MemorySegment whole) {
    wholeBytes = Math.toIntExact(whole.byteSize() / keys.length);
    int record = Long.BYTES + wholeBytes;
    ByteBuffer out = ByteBuffer.allocate(record * keys.length).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < keys.length; i++) {
      out.putLong(keys[i]);
      out.put(whole.asSlice((long) i * wholeBytes, wholeBytes).asByteBuffer());
    }
    out.flip();
    try {
      while (out.hasRemaining()) {
        file.write(out);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    rows += keys.length;
  }

  private List<Column> columns() {
    List<Column> columns = new ArrayList<>();
    columns.add(new Column(TableFile.KEYS, DType.I64, 1, 0, Long.BYTES, false));
    int weights = Long.BYTES + STEP_BYTES;
    boolean plain = TableFile.plain(table.codec());
    columns.add(
        new Column(
            TableFile.VALUES,
            TableFile.dtype(table.codec()),
            table.dim(),
            weights,
            weightBytes,
            !plain));
    if (withState) {
      columns.add(new Column(TableFile.STEPS, DType.U32, 1, Long.BYTES, STEP_BYTES, false));
      if (!plain) {
        columns.add(
            new Column(TableFile.STORED, DType.U8, weightBytes, weights, weightBytes, false));
      }
      int stateBytes = wholeBytes - STEP_BYTES - weightBytes;
      if (stateBytes > 0) {
        columns.add(
            new Column(
                TableFile.STATE, DType.U8, stateBytes, weights + weightBytes, stateBytes, false));
      }
    }
    return columns;
  }

  /** Reads the rows again, some at a time, and writes each column's part of them. */
  private void fill(FileChannel file, SafetensorsWriter writer, List<Column> columns)
      throws IOException {
    int record = Long.BYTES + wholeBytes;
    int most = Math.max(1, CHUNK_BYTES / Math.max(record, 4 * table.dim()));
    ByteBuffer some = ByteBuffer.allocateDirect(most * record);
    int widest = columns.stream().mapToInt(Column::outBytes).max().orElse(1);
    ByteBuffer out = ByteBuffer.allocateDirect(most * widest);
    for (long done = 0; done < rows; ) {
      int count = (int) Math.min(most, rows - done);
      some.clear().limit(count * record);
      for (long at = done * record; some.hasRemaining(); ) {
        int read = file.read(some, at);
        if (read < 0) {
          throw new IOException("the rows that were set aside are cut short");
        }
        at += read;
      }
      for (Column column : columns) {
        copy(column, some, record, count, out.clear());
        writer.write(column.name(), done * column.outBytes(), out.flip());
      }
      done += count;
    }
  }

  private void copy(Column column, ByteBuffer rowsBytes, int record, int count, ByteBuffer out) {
    MemorySegment from = MemorySegment.ofBuffer(rowsBytes.clear());
    MemorySegment to = MemorySegment.ofBuffer(out);
    int outBytes = column.outBytes();
    for (int i = 0; i < count; i++) {
      long at = (long) i * record + column.at();
      if (column.decoded()) {
        Codec codec = table.codec();
        codec.decode(Kernels.best(), from, at, to, (long) i * outBytes, table.dim());
      } else {
        MemorySegment.copy(from, at, to, (long) i * outBytes, outBytes);
      }
    }
    out.position(count * outBytes);
  }
}
