package io.tensorhold.server.shard;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.store.ShardStore;
import java.util.Collection;
import java.util.HashSet;
import java.util.Set;
import java.util.function.LongPredicate;

/**
 * What some parameters take on one replica.
 *
 * @param blocks that were ever pushed to
 * @param memoryBytes of those blocks that are in memory, and of the tables' pages
 * @param storedBytes of those that are in RocksDB, and of the tables' rows as it estimates them
 * @param weightBytes of all of them
 * @param stateBytes optimizer state of all of them
 */
public record ShardFigures(
    long blocks, long memoryBytes, long storedBytes, long weightBytes, long stateBytes) {

  static ShardFigures of(
      Collection<ParameterRecord> parameters,
      LongPredicate filter,
      MemoryTier tier,
      ShardRows rows,
      ShardStore store) {
    long[] sums = new long[5];
    for (ParameterRecord parameter : parameters) {
      if (filter.test(parameter.id())) {
        if (parameter.table() != null) {
          sums[1] += rows.bytes(id -> id == parameter.id());
          sums[2] += store.rowBytes(parameter.id());
        }
        Set<BlockKey> seen = new HashSet<>();
        store.forEachBlock(
            parameter.id(),
            key -> {
              seen.add(key);
              sums[2] += parameter.blockBytes(key.block());
            });
        for (int block = 0; block < parameter.blocks(); block++) {
          BlockKey key = new BlockKey(parameter.id(), block);
          boolean inMemory = tier.get(key) != null;
          if (inMemory) {
            sums[1] += parameter.blockBytes(block);
            seen.add(key);
          }
        }
        sums[0] += seen.size();
        for (BlockKey key : seen) {
          sums[3] += parameter.weightBytes(key.block());
          sums[4] += parameter.stateBytes(key.block());
        }
      }
    }
    return new ShardFigures(sums[0], sums[1], sums[2], sums[3], sums[4]);
  }
}
