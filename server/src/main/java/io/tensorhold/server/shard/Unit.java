package io.tensorhold.server.shard;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.store.BlockLayout;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A block in memory, weights and optimizer state together, laid out as {@code BlockLayout} draws
 * it.
 *
 * <p>It counts those who hold it: the memory tier, readers whose answer is on its way to the wire,
 * a flush. Holders are added under the shard's lock only. Only a unit that the tier alone holds is
 * changed; otherwise the tier goes on with a copy, so that nobody sees half an update. The last one
 * to let go frees the memory.
 */
public final class Unit {
  private final MemorySegment memory;
  private final AtomicInteger holders = new AtomicInteger(1);

  /** Log index up to which the unit was on disk when it was read: replay skips what it holds. */
  final long floor;

  Unit(MemorySegment memory, long floor) {
    this.memory = memory;
    this.floor = floor;
  }

  /** A block as it was read. */
  static Unit stored(MemorySegment memory) {
    return new Unit(memory, BlockLayout.logIndex(memory));
  }

  /** A block that no push has reached: zeros, and what its optimizer starts from. */
  static Unit zeros(ParameterRecord parameter, int block) {
    MemorySegment memory = OffHeap.allocate(parameter.blockBytes(block));
    BlockLayout.clear(
        memory,
        parameter.codec().id(),
        parameter.elementsIn(block),
        parameter.weightBytes(block),
        parameter.stateBytes(block));
    if (parameter.trained()) {
      long state = BlockLayout.stateOffset(memory);
      parameter.rule().initialize(Kernels.best(), memory, state, parameter.elementsIn(block));
    }
    return new Unit(memory, -1);
  }

  /**
   * Memory for a block whose weights are about to be received, held by the caller; it has no
   * optimizer state, and undefined weights.
   */
  public static Unit toReceive(ParameterRecord parameter, int block) {
    MemorySegment memory = OffHeap.allocate(parameter.blockBytes(block));
    BlockLayout.clear(
        memory.asSlice(0, BlockLayout.HEADER_BYTES),
        parameter.codec().id(),
        parameter.elementsIn(block),
        parameter.weightBytes(block),
        0);
    return new Unit(memory, -1);
  }

  /** The bytes of the block. */
  public MemorySegment memory() {
    return memory;
  }

  Unit hold() {
    holders.incrementAndGet();
    return this;
  }

  boolean shared() {
    return holders.get() > 1;
  }

  Unit copy() {
    MemorySegment copy = OffHeap.allocate(memory.byteSize());
    copy.copyFrom(memory);
    return new Unit(copy, floor);
  }

  long bytes() {
    return memory.byteSize();
  }

  /** Lets go; the holder must not touch the memory afterwards. */
  public void release() {
    int left = holders.decrementAndGet();
    if (left == 0) {
      OffHeap.free(memory);
    } else if (left < 0) {
      throw new IllegalStateException("a unit was released twice");
    }
  }
}
