package io.tensorhold.server.base;

/** Which block: the id of its parameter and its index there. Ordered as on disk. */
public record BlockKey(long parameter, int block) implements Comparable<BlockKey> {
  @Override
  public int compareTo(BlockKey other) {
    int byParameter = Long.compareUnsigned(parameter, other.parameter);
    return byParameter != 0 ? byParameter : Integer.compareUnsigned(block, other.block);
  }

  @Override
  public String toString() {
    return parameter + "/" + block;
  }
}
