package io.tensorhold.numerics;

/**
 * The division of a tensor into blocks: contiguous runs of {@code blockElements} elements, the last
 * one shorter.
 */
public final class Blocks {
  /** Elements of a block when nothing else is asked for: 1 MiB of f32. */
  public static final int DEFAULT_ELEMENTS = 262_144;

  /** What every block size is a multiple of, so that every codec's group divides it. */
  public static final int MULTIPLE = 256;

  private Blocks() {}

  /**
   * The number of blocks of a tensor; a tensor without elements has none.
   *
   * @throws IllegalArgumentException if elements is negative, the block size is no positive
   *     multiple of {@value #MULTIPLE}, or there would be more than 2³¹ − 1 blocks
   */
  public static int count(long elements, int blockElements) {
    check(elements, blockElements);
    long blocks = Math.ceilDiv(elements, blockElements);
    if (blocks > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "%d elements make too many blocks of %d: value=%d limit=%d; choose a larger block"
              .formatted(elements, blockElements, blocks, Integer.MAX_VALUE));
    }
    return (int) blocks;
  }

  /**
   * The number of elements in one block, counted from 0.
   *
   * @throws IndexOutOfBoundsException if the tensor has no such block
   */
  public static int elementsIn(long elements, int blockElements, int block) {
    int count = count(elements, blockElements);
    if (block < 0 || block >= count) {
      throw new IndexOutOfBoundsException(
          "no such block: value=%d limit=0..%d".formatted(block, count - 1));
    }
    return (int) Math.min(blockElements, elements - (long) block * blockElements);
  }

  private static void check(long elements, int blockElements) {
    if (elements < 0) {
      throw new IllegalArgumentException("elements is negative: value=" + elements + " limit>=0");
    }
    if (blockElements <= 0 || blockElements % MULTIPLE != 0) {
      throw new IllegalArgumentException(
          "block size is not a positive multiple of %d elements: value=%d"
              .formatted(MULTIPLE, blockElements));
    }
  }
}
