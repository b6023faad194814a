package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.wire.Crc32c;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * What a push sends of one block.
 *
 * @param runs alternating gap and length of the elements sent; empty: the whole block
 * @param pieces their bytes, one run after another
 */
record BlockPart(
    Parameter parameter, int block, Codec codec, List<Integer> runs, List<MemorySegment> pieces) {
  /** Elements that are sent. */
  int elements() {
    int elements = runs.isEmpty() ? parameter.elementsIn(block) : 0;
    for (int i = 1; i < runs.size(); i += 2) {
      elements += runs.get(i);
    }
    return elements;
  }

  long bytes() {
    long bytes = 0;
    for (MemorySegment piece : pieces) {
      bytes += piece.byteSize();
    }
    return bytes;
  }

  /** What its elements take as f32; a dtype that is not computed with is as large as it is. */
  long f32Bytes() {
    if (!codec.computable()) {
      return bytes();
    }
    long elements = runs.isEmpty() ? parameter.elementsIn(block) : 0;
    for (int i = 1; i < runs.size(); i += 2) {
      elements += runs.get(i);
    }
    return 4 * elements;
  }

  /** As a push describes it, with the checksum of its bytes. */
  BlockHeader.Builder header() {
    Crc32c crc = new Crc32c();
    for (MemorySegment piece : pieces) {
      crc.update(piece);
    }
    return BlockHeader.newBuilder()
        .setParameterId(parameter.id())
        .setBlock(block)
        .setCodecValue(codec.id())
        .setPayloadBytes(Math.toIntExact(bytes()))
        .addAllRuns(runs)
        .setCrc32C(crc.value())
        .setHasCrc(true);
  }
}
