package io.tensorhold.server.training;

import io.tensorhold.server.base.Limits;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.RowOverlay;
import io.tensorhold.server.shard.RowsPut;
import java.util.Iterator;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * One checkpoint of the rows of a model on one shard: what the overlay has sealed of them goes to
 * the log, one command after another.
 */
final class RowCheckpoint {
  private final RowOverlay rows;
  private final PushQueue queue;
  private final long term;
  private final Iterator<ParameterRecord> tables;
  private @Nullable ParameterRecord table;
  private long[] keys = new long[0];
  private int next;
  private long lastIndex;
  private long bytes;

  /** A checkpoint of the tables among a model's parameters. */
  RowCheckpoint(ShardLog log, PushQueue queue, long term, Map<Long, ParameterRecord> parameters) {
    this.rows = log.machine().rows().overlay();
    this.queue = queue;
    this.term = term;
    this.tables =
        new TreeMap<>(parameters)
            .values().stream().filter(parameter -> parameter.table() != null).iterator();
  }

  /** Bytes of the rows that were logged. */
  long bytes() {
    return bytes;
  }

  /** Ends with the index of the last entry; 0 if there was nothing to log. */
  CompletableFuture<Long> run() {
    while (next == keys.length) {
      if (table != null) {
        rows.logged(term, table.id());
      }
      if (!tables.hasNext()) {
        return CompletableFuture.completedFuture(lastIndex);
      }
      table = tables.next();
      keys = rows.sealedKeys(term, table.id());
      next = 0;
    }
    ParameterRecord of = Objects.requireNonNull(table);
    int rowBytes = of.rowBytes();
    int count = Math.max(1, Limits.ENTRY_TARGET_BYTES / (rowBytes + Long.BYTES));
    int end = Math.min(keys.length, next + count);
    RowsPut put = rows.sealedRows(term, of.id(), keys, next, end);
    next = end;
    bytes += put.rows().byteSize();
    return queue
        .command(Entry.putRows(put), Set.of(of), (long) put.keys().length * rowBytes)
        .thenCompose(
            done -> {
              lastIndex = done.logIndex();
              return run();
            });
  }
}
