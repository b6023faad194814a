package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** Which part of which block the elements of a tensor or of a slice are. */
final class TensorParts {
  private TensorParts() {}

  /** A run of elements in one block, and where its bytes lie in the caller's memory. */
  record Run(int block, int first, int count, long sourceOffset) {}

  /** The whole tensor, block by block. */
  static List<BlockPart> whole(Parameter parameter, Codec codec, MemorySegment source) {
    if (!codec.fixedSize()) {
      throw new TensorholdException(
          "CODEC_INVALID",
          "%s has a size for each block: push blocks of %s"
              .formatted(codec.label(), parameter.name()));
    }
    if (parameter.isView()) {
      return slice(parameter, Slice.all(parameter.shape()), codec, source);
    }
    requireBytes(parameter.name(), parameter.bytes(codec), source);
    List<BlockPart> parts = new ArrayList<>(parameter.blocks());
    for (int block = 0; block < parameter.blocks(); block++) {
      long bytes = codec.bytes(parameter.dtype(), parameter.elementsIn(block));
      MemorySegment piece = source.asSlice(parameter.offset(block, codec), bytes);
      parts.add(new BlockPart(parameter, block, codec, List.of(), List.of(piece)));
    }
    return parts;
  }

  /** The blocks that a slice touches, each with the runs that lie in it. */
  static List<BlockPart> slice(
      Parameter parameter, Slice slice, Codec codec, MemorySegment source) {
    long width = width(parameter, codec);
    requireBytes("the slice of " + parameter.name(), width * slice.elements(), source);
    TreeMap<Integer, List<Run>> byBlock = new TreeMap<>();
    for (Run run : runs(parameter, slice, width)) {
      byBlock.computeIfAbsent(run.block, b -> new ArrayList<>()).add(run);
    }
    List<BlockPart> parts = new ArrayList<>();
    byBlock.forEach(
        (block, runs) -> {
          List<Integer> gaps = new ArrayList<>();
          List<MemorySegment> pieces = new ArrayList<>();
          int end = 0;
          for (Run run : runs) {
            gaps.add(run.first - end);
            gaps.add(run.count);
            end = run.first + run.count;
            pieces.add(source.asSlice(run.sourceOffset, width * run.count));
          }
          parts.add(new BlockPart(parameter, block, codec, gaps, pieces));
        });
    return parts;
  }

  /** The runs of a slice, cut where a block ends, in row-major order. */
  static List<Run> runs(Parameter parameter, Slice slice, long width) {
    List<Run> runs = new ArrayList<>();
    long[] taken = {0};
    slice.forEachRun(
        (first, count) -> {
          long at = parameter.firstElement() + first;
          long left = count;
          while (left > 0) {
            int block = (int) (at / parameter.blockElements());
            int inBlock = (int) (at % parameter.blockElements());
            int here = (int) Math.min(left, parameter.blockElements() - inBlock);
            runs.add(new Run(block, inBlock, here, taken[0] * width));
            taken[0] += here;
            at += here;
            left -= here;
          }
        });
    return runs;
  }

  /**
   * Bytes of one element under a codec.
   *
   * @throws TensorholdException CODEC_INVALID if elements share bytes
   */
  static long width(Parameter parameter, @Nullable Codec codec) {
    if (codec == null || !codec.sliceable(parameter.dtype())) {
      throw new TensorholdException(
          "CODEC_INVALID",
          "a slice of %s can't be moved as %s: choose f32, f16 or bf16"
              .formatted(parameter.name(), codec == null ? "stored" : codec.label()));
    }
    return codec.bytes(parameter.dtype(), 1);
  }

  static void requireBytes(String what, long expected, MemorySegment memory) {
    if (memory.byteSize() != expected) {
      throw new TensorholdException(
          "PAYLOAD_LENGTH",
          "%s takes %d bytes: value=%d".formatted(what, expected, memory.byteSize()));
    }
  }

  /** Whole blocks, whose lengths are checked. */
  static List<BlockPart> blocks(List<BlockPayload> blocks) {
    List<BlockPart> parts = new ArrayList<>();
    for (BlockPayload block : blocks) {
      Parameter parameter = block.parameter();
      long elements = parameter.elementsIn(block.block());
      if (!block.codec().fits(parameter.dtype(), elements, block.bytes().byteSize())) {
        requireBytes(
            "block %d of %s".formatted(block.block(), parameter.name()),
            block.codec().bytes(parameter.dtype(), elements),
            block.bytes());
      }
      parts.add(
          new BlockPart(
              parameter, block.block(), block.codec(), List.of(), List.of(block.bytes())));
    }
    return parts;
  }
}
