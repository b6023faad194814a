package io.tensorhold.wire;

/**
 * Which shard a block or a row lies on. Clients and servers compute it alike: it is part of the
 * protocol and of the data on disk, do not change it.
 *
 * <p>The parameter id times an odd constant, plus the block's index or the row's key plus one, goes
 * through the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
 * generators", 2014); the upper half of its product with the number of shards is the shard.
 */
public final class ShardHash {
  private ShardHash() {}

  /** The shard, from 0 to {@code shards} − 1, of a block, or of a table's row by its key. */
  public static int shard(long parameterId, long block, int shards) {
    long z = parameterId * 0x9E3779B97F4A7C15L + block + 1;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    z ^= z >>> 31;
    return (int) Math.unsignedMultiplyHigh(z, shards);
  }
}
