package io.tensorhold.client;

import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.PushRowsHeader;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Rows of a table that lie on one shard, as one message carries them.
 *
 * @param header with keys, operation and codec
 */
record RowMessage(Table table, int shard, PushRowsHeader.Builder header, MemorySegment values) {
  /**
   * The messages of a step, one for each shard and table at least: a step that is made again has as
   * many, whatever its rows.
   */
  static List<RowMessage> ofStep(List<RowGradients> gradients, int shards) {
    List<RowMessage> messages = new ArrayList<>();
    for (RowGradients some : gradients) {
      messages.addAll(
          RowBatch.messages(
              some.table(), Operation.GRADIENT, some.keys(), some.values(), shards, true));
    }
    return messages;
  }

  /** How many messages each shard gets. */
  static int[] count(List<RowMessage> messages, int shards) {
    int[] counts = new int[shards];
    messages.forEach(message -> counts[message.shard]++);
    return counts;
  }

  /** Says of messages of a step which part of it each is: they come behind those of blocks. */
  static void number(List<RowMessage> rows, List<PushPart> blocks, int shards) {
    int[] next = new int[shards];
    blocks.forEach(message -> next[message.shard()]++);
    int[] parts = count(rows, shards);
    for (int shard = 0; shard < shards; shard++) {
      parts[shard] += next[shard];
    }
    rows.forEach(
        message -> message.header.setPart(next[message.shard]++).setParts(parts[message.shard]));
  }
}
