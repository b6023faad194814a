package io.tensorhold.client;

import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.ShardHash;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.TreeMap;

/**
 * What one message of a push carries.
 *
 * @param part which of the push's messages to this shard it is, from 0
 * @param parts how many there are, with those of rows of the same step
 */
record PushPart(int shard, int part, int parts, List<BlockPart> blocks) {
  private static final int BLOCKS_PER_PUSH = 1024;

  /**
   * What a message decodes to at most, whatever codec makes it small: the mean of a bulk
   * synchronous step is an entry of the log as f32, and one that is too large is refused.
   */
  private static final long F32_BYTES_PER_PUSH = 4L << 20;

  /**
   * The messages that carry blocks, shard by shard.
   *
   * @param everyShard gets a message, though it be empty
   * @param others messages of rows that each shard gets besides, as parts of the same step
   */
  static List<PushPart> split(
      List<BlockPart> blocks, int shards, Collection<Integer> everyShard, int[] others) {
    TreeMap<Integer, List<BlockPart>> byShard = new TreeMap<>();
    for (BlockPart block : blocks) {
      int shard = ShardHash.shard(block.parameter().id(), block.block(), shards);
      byShard.computeIfAbsent(shard, s -> new ArrayList<>()).add(block);
    }
    for (int shard : everyShard) {
      if (others[shard] == 0) {
        byShard.putIfAbsent(shard, List.of());
      }
    }
    List<PushPart> all = new ArrayList<>();
    byShard.forEach(
        (shard, ofShard) -> {
          List<List<BlockPart>> messages = messages(ofShard);
          for (int part = 0; part < messages.size(); part++) {
            int parts = messages.size() + others[shard];
            all.add(new PushPart(shard, part, parts, messages.get(part)));
          }
        });
    return all;
  }

  private static List<List<BlockPart>> messages(List<BlockPart> blocks) {
    List<List<BlockPart>> messages = new ArrayList<>();
    int from = 0;
    do {
      int to = end(blocks, from);
      messages.add(blocks.subList(from, to));
      from = to;
    } while (from < blocks.size());
    return messages;
  }

  /** Where a message ends that begins at {@code from}: as full as allowed, at least one block. */
  private static int end(List<BlockPart> blocks, int from) {
    long bytes = 0;
    long f32Bytes = 0;
    int to = from;
    while (to < blocks.size()
        && to - from < BLOCKS_PER_PUSH
        && (to == from
            || (bytes + blocks.get(to).bytes() <= ChannelSettings.PUSH_PAYLOAD_BYTES
                && f32Bytes + blocks.get(to).f32Bytes() <= F32_BYTES_PER_PUSH))) {
      bytes += blocks.get(to).bytes();
      f32Bytes += blocks.get(to).f32Bytes();
      to++;
    }
    return to;
  }
}
