package io.tensorhold.server.training;

import io.tensorhold.server.base.Limits;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.RowsPut;
import io.tensorhold.server.shard.ShardRows;
import java.util.Iterator;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;

/**
 * One checkpoint of the rows of a model on one shard: what the overlay has of them goes to the log,
 * one command after another, each as the rows are when its turn comes.
 */
final class RowCheckpoint {
  private final ShardRows rows;
  private final PushQueue queue;
  private final long term;
  private final Iterator<ParameterRecord> tables;
  private ParameterRecord table;
  private long[] keys = new long[0];
  private int next;
  private long lastIndex;

  /** A checkpoint of the tables among a model's parameters. */
  RowCheckpoint(ShardLog log, PushQueue queue, long term, Map<Long, ParameterRecord> parameters) {
    this.rows = log.machine().rows();
    this.queue = queue;
    this.term = term;
    this.tables =
        new TreeMap<>(parameters)
            .values().stream().filter(parameter -> parameter.table() != null).iterator();
  }

  /** Ends with the index of the last entry; 0 if there was nothing to log. */
  CompletableFuture<Long> run() {
    while (next == keys.length) {
      if (!tables.hasNext()) {
        return CompletableFuture.completedFuture(lastIndex);
      }
      table = tables.next();
      keys = rows.overlayKeys(term, table.id());
      next = 0;
    }
    int rowBytes = table.rowBytes();
    int count = Math.max(1, Limits.ENTRY_TARGET_BYTES / (rowBytes + Long.BYTES));
    int end = Math.min(keys.length, next + count);
    RowsPut put = rows.overlayRows(term, table.id(), keys, next, end);
    next = end;
    return queue
        .command(Entry.putRows(put), Set.of(table), (long) put.keys().length * rowBytes)
        .thenCompose(
            done -> {
              rows.overlayLogged(term, put);
              lastIndex = done.logIndex();
              return run();
            });
  }
}
