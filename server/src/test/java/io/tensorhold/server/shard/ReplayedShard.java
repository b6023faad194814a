package io.tensorhold.server.shard;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;

/** A shard's machine and its store, driven by a log that a test wrote. */
final class ReplayedShard implements AutoCloseable {
  private final Path directory;
  private final long budget;
  private final SharedRocks rocks;
  ShardStore store;
  ShardMachine machine;

  ReplayedShard(Path directory, long budget, SharedRocks rocks) {
    this.directory = directory;
    this.budget = budget;
    this.rocks = rocks;
    this.store = new ShardStore(directory.resolve("db"), directory.resolve("staging"), rocks);
    this.machine = new ShardMachine(0, store, budget, Kernels.best());
  }

  /** What a kill leaves: the store as last flushed. */
  void reopen() {
    close();
    store = new ShardStore(directory.resolve("db"), directory.resolve("staging"), rocks);
    machine = new ShardMachine(0, store, budget, Kernels.best());
  }

  void apply(List<byte[]> log, long index) {
    machine.apply(1, index, ByteBuffer.wrap(log.get((int) index)));
  }

  void flush() {
    Flush flush = machine.beginFlush();
    if (flush != null) {
      flush.run();
      machine.endFlush(flush, true);
    }
  }

  @Override
  public void close() {
    machine.close();
    store.close();
  }
}
