package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/**
 * The keys of a batch as the wire wants them: by shard, within a shard rising, each once; and where
 * each stands in the caller's order.
 *
 * <p>Keys are sorted by their bytes, lowest first, with their positions (LSD radix sort); bytes
 * that are the same in all keys are skipped, and they mostly are. Then one more pass sorts by
 * shard.
 */
final class RowBatch {
  /** Rows of one message at most. */
  static final int MESSAGE_ROWS = 1 << 14;

  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Distinct keys, in the order of the wire. */
  final long[] keys;

  /** How many of them there are. */
  final int count;

  /** The caller's positions, in the order of the wire; those of one key together, rising. */
  final int[] positions;

  /** Where the positions of each key begin; one more for the end. */
  final int[] starts;

  /** Where the keys of each shard begin; one more for the end. */
  final int[] shardStarts;

  RowBatch(Table table, long[] asked, int shards) {
    int n = asked.length;
    long[] sorted = asked.clone();
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      order[i] = i;
    }
    long varying = 0;
    for (int i = 1; i < n; i++) {
      varying |= asked[i] ^ asked[0];
    }
    long[] sortedTo = new long[n];
    int[] orderTo = new int[n];
    int[] counts = new int[257];
    for (int shift = 0; shift < 64; shift += 8) {
      if ((varying >>> shift & 0xff) == 0) {
        continue;
      }
      int flip = shift == 56 ? 0x80 : 0; // negative keys come first
      java.util.Arrays.fill(counts, 0);
      for (int i = 0; i < n; i++) {
        counts[(((int) (sorted[i] >>> shift) & 0xff) ^ flip) + 1]++;
      }
      for (int i = 0; i < 256; i++) {
        counts[i + 1] += counts[i];
      }
      for (int i = 0; i < n; i++) {
        int to = counts[((int) (sorted[i] >>> shift) & 0xff) ^ flip]++;
        sortedTo[to] = sorted[i];
        orderTo[to] = order[i];
      }
      long[] keysBefore = sorted;
      sorted = sortedTo;
      sortedTo = keysBefore;
      int[] orderBefore = order;
      order = orderTo;
      orderTo = orderBefore;
    }
    int[] shardOf = new int[n];
    int[] next = new int[shards + 1];
    for (int i = 0; i < n; i++) {
      shardOf[i] = ShardHash.shard(table.id(), sorted[i], shards);
      next[shardOf[i] + 1]++;
    }
    for (int i = 0; i < shards; i++) {
      next[i + 1] += next[i];
    }
    for (int i = 0; i < n; i++) {
      int to = next[shardOf[i]]++;
      sortedTo[to] = sorted[i];
      orderTo[to] = order[i];
    }
    keys = sortedTo;
    positions = orderTo;
    starts = new int[n + 1];
    shardStarts = new int[shards + 1];
    count = distinct(next);
  }

  /** Keeps one of equal keys, which stand side by side. */
  private int distinct(int[] shardEnds) {
    int distinct = 0;
    int from = 0;
    for (int shard = 0; shard < shardStarts.length - 1; shard++) {
      shardStarts[shard] = distinct;
      for (int i = from; i < shardEnds[shard]; i++) {
        if (i == from || keys[i] != keys[distinct - 1]) {
          starts[distinct] = i;
          keys[distinct++] = keys[i];
        }
      }
      from = shardEnds[shard];
    }
    shardStarts[shardStarts.length - 1] = distinct;
    starts[distinct] = positions.length;
    return distinct;
  }

  int shards() {
    return shardStarts.length - 1;
  }

  /**
   * The messages of a push; see {@link Session#pushRows}.
   *
   * @param everyShard gets one, though it be empty
   */
  static List<RowMessage> messages(
      Table table,
      Operation operation,
      long[] keys,
      float[] values,
      int shards,
      boolean everyShard) {
    requireValues(table, keys, values);
    int dim = table.dim();
    RowBatch batch = new RowBatch(table, keys, shards);
    return batch.messages(
        table,
        operation,
        Codec.F32,
        4 * dim,
        everyShard,
        (from, to) -> batch.gather(operation, values, dim, from, to));
  }

  /** The messages of whole rows, as they are stored; see {@link Session#restoreRows}. */
  static List<RowMessage> whole(Table table, long[] keys, MemorySegment rows, int shards) {
    int rowBytes = keys.length == 0 ? 0 : Math.toIntExact(rows.byteSize() / keys.length);
    if ((long) rowBytes * keys.length != rows.byteSize()) {
      throw new TensorholdException(
          "PAYLOAD_LENGTH",
          "%d rows of %s have as many bytes each: value=%d"
              .formatted(keys.length, table.name(), rows.byteSize()));
    }
    RowBatch batch = new RowBatch(table, keys, shards);
    return batch.messages(
        table,
        Operation.RESTORE,
        table.codec(),
        rowBytes,
        false,
        (from, to) -> {
          MemorySegment gathered = MemorySegment.ofArray(new byte[rowBytes * (to - from)]);
          for (int i = from; i < to; i++) {
            long row = (long) batch.positions[batch.starts[i + 1] - 1] * rowBytes;
            MemorySegment.copy(rows, row, gathered, (long) rowBytes * (i - from), rowBytes);
          }
          return gathered;
        });
  }

  /** Checks that there are as many values as the keys take. */
  static void requireValues(Table table, long[] keys, float[] values) {
    long expected = (long) keys.length * table.dim();
    if (values.length != expected) {
      throw new TensorholdException(
          "PAYLOAD_LENGTH",
          "%d rows of %s, of %d elements each, take %d values: value=%d"
              .formatted(keys.length, table.name(), table.dim(), expected, values.length));
    }
  }

  /** Gives the bytes of some keys' rows, in the order of the wire. */
  private interface Gather {
    MemorySegment gather(int from, int to);
  }

  private List<RowMessage> messages(
      Table table,
      Operation operation,
      Codec codec,
      int rowBytes,
      boolean everyShard,
      Gather values) {
    int most =
        Math.clamp(ChannelSettings.PUSH_PAYLOAD_BYTES / Math.max(1, rowBytes), 1, MESSAGE_ROWS);
    List<RowMessage> messages = new ArrayList<>();
    for (int shard = 0; shard < shards(); shard++) {
      int from = shardStarts[shard];
      int end = shardStarts[shard + 1];
      boolean empty = everyShard && from == end;
      while (from < end || empty) {
        empty = false;
        int to = Math.min(end, from + most);
        PushRowsHeader.Builder header =
            PushRowsHeader.newBuilder().setOperation(operation).setCodecValue(codec.id());
        for (int i = from; i < to; i++) {
          header.addKeys(keys[i]);
        }
        messages.add(new RowMessage(table, shard, header, values.gather(from, to)));
        from = to;
      }
    }
    return messages;
  }

  /** The values of some keys, in the order of the wire. */
  private MemorySegment gather(Operation operation, float[] values, int dim, int from, int to) {
    MemorySegment rows = MemorySegment.ofArray(new byte[4 * dim * (to - from)]);
    for (int i = from; i < to; i++) {
      long at = 4L * dim * (i - from);
      boolean last = operation == Operation.ASSIGN;
      int first = last ? starts[i + 1] - 1 : starts[i];
      MemorySegment.copy(values, positions[first] * dim, rows, F32, at, dim);
      for (int more = first + 1; more < starts[i + 1]; more++) {
        int source = positions[more] * dim;
        for (int e = 0; e < dim; e++) {
          rows.set(F32, at + 4L * e, rows.get(F32, at + 4L * e) + values[source + e]);
        }
      }
    }
    return rows;
  }
}
