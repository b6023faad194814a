package io.tensorhold.cli;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;

/** Blocks in the database of a server that is stopped. */
final class StoredBlocks {
  private StoredBlocks() {}

  /**
   * Rewrites an f32 block without optimizer state with another value and a right checksum.
   *
   * @param elements of the block
   * @return its shard
   */
  static int change(Path server, long parameter, int block, int elements, int shards) {
    int shard = ShardHash.shard(parameter, block, shards);
    Path folder = server.resolve("shards/%03d".formatted(shard));
    try (SharedRocks rocks = new SharedRocks(1 << 20);
        ShardStore store = new ShardStore(folder.resolve("db"), folder.resolve("staging"), rocks)) {
      BlockKey key = new BlockKey(parameter, block);
      MemorySegment memory =
          Objects.requireNonNull(store.read(key, BlockLayout.HEADER_BYTES + 4L * elements));
      MemorySegment weights = BlockLayout.weights(memory);
      float value = weights.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 400);
      weights.set(ValueLayout.JAVA_FLOAT_UNALIGNED, 400, value + 1);
      store.flush(
          List.of(new ShardStore.Write(key, memory)).iterator(),
          Objects.requireNonNull(store.state()),
          List.of(),
          null);
      OffHeap.free(memory);
    }
    return shard;
  }
}
