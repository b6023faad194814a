package io.tensorhold.client;

import io.tensorhold.proto.v1.BlockHeader;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;

/**
 * The step of each block of a model whose values were pulled last through one {@link ModelHandle}:
 * what a gradient that is computed now is computed at. Kept for models with a staleness-aware rate,
 * 100 bytes or so for each block.
 */
final class PulledSteps {
  private record Key(long parameter, int block) {}

  private final boolean kept;
  private final ConcurrentMap<Key, Long> steps = new ConcurrentHashMap<>();

  PulledSteps(boolean kept) {
    this.kept = kept;
  }

  /** Notes a block that was pulled. */
  void pulled(BlockHeader block) {
    if (kept) {
      steps.put(new Key(block.getParameterId(), block.getBlock()), block.getStep());
    }
  }

  /** Says what a gradient's block is computed at; values that were never pulled are the first. */
  void computedAt(BlockHeader.Builder block) {
    if (kept) {
      block.setStep(steps.getOrDefault(new Key(block.getParameterId(), block.getBlock()), 0L));
    }
  }
}
