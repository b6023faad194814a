package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.store.BlockLayout;
import java.lang.foreign.MemorySegment;

/**
 * The arithmetic of one push on one block: decode, operate, encode, in a fixed order.
 *
 * <p>Only the elements that the push names are touched, in runs. A block is worked on in whole
 * groups of its codec: the neighbours of a touched element share its scale.
 */
final class BlockUpdate implements AutoCloseable {
  private final Kernels kernels;
  private MemorySegment weightScratch = OffHeap.allocate(0);
  private MemorySegment payloadScratch = OffHeap.allocate(0);

  BlockUpdate(Kernels kernels) {
    this.kernels = kernels;
  }

  /** Updates a block from a part whose payload starts at {@code offset}; both were checked. */
  void apply(
      MemorySegment block,
      ParameterRecord parameter,
      Operation op,
      Part part,
      MemorySegment payload,
      long offset) {
    int elements = BlockLayout.elements(block);
    if (op == Operation.ASSIGN && part.codec() == parameter.codec()) {
      assign(block, parameter, part, payload, offset, elements);
      return;
    }
    int count = (int) part.elements(elements);
    MemorySegment values = payload;
    long valuesOffset = offset;
    if (part.codec() != Codec.F32) {
      payloadScratch = grow(payloadScratch, 4L * count);
      part.codec().decode(kernels, payload, offset, payloadScratch, 0, count);
      values = payloadScratch;
      valuesOffset = 0;
    }
    long step = BlockLayout.step(block);
    Optimizer rule = null;
    if (op == Operation.GRADIENT) {
      rule = parameter.rule();
      step++;
      BlockLayout.setStep(block, step);
    }
    if (part.runs().length == 0) {
      run(block, parameter.codec(), op, rule, step, 0, elements, elements, values, valuesOffset);
      return;
    }
    int first = 0;
    for (int i = 0; i < part.runs().length; i += 2) {
      first += part.runs()[i];
      int length = part.runs()[i + 1];
      run(block, parameter.codec(), op, rule, step, first, length, elements, values, valuesOffset);
      first += length;
      valuesOffset += 4L * length;
    }
  }

  /** The payload is what is stored: bytes are copied. */
  private static void assign(
      MemorySegment block,
      ParameterRecord parameter,
      Part part,
      MemorySegment payload,
      long offset,
      int elements) {
    MemorySegment weights = BlockLayout.weights(block);
    if (part.runs().length == 0) {
      MemorySegment.copy(payload, offset, weights, 0, weights.byteSize());
      return;
    }
    long width = part.codec().bytes(parameter.dtype(), elements) / elements;
    long first = 0;
    for (int i = 0; i < part.runs().length; i += 2) {
      first += part.runs()[i];
      long bytes = width * part.runs()[i + 1];
      MemorySegment.copy(payload, offset, weights, width * first, bytes);
      first += part.runs()[i + 1];
      offset += bytes;
    }
  }

  private void run(
      MemorySegment block,
      Codec codec,
      Operation op,
      @org.jspecify.annotations.Nullable Optimizer rule,
      long step,
      int first,
      int length,
      int elements,
      MemorySegment values,
      long valuesOffset) {
    if (codec == Codec.F32) {
      long weights = BlockLayout.HEADER_BYTES + 4L * first;
      operate(block, op, rule, step, first, length, elements, values, valuesOffset, block, weights);
      return;
    }
    int group = codec.group();
    int from = first / group * group;
    int to = (int) Math.min(elements, Math.ceilDiv((long) first + length, group) * group);
    long coded = BlockLayout.HEADER_BYTES + codec.bytes(io.tensorhold.numerics.DType.F32, from);
    weightScratch = grow(weightScratch, 4L * (to - from));
    codec.decode(kernels, block, coded, weightScratch, 0, to - from);
    long weights = 4L * (first - from);
    operate(
        block,
        op,
        rule,
        step,
        first,
        length,
        elements,
        values,
        valuesOffset,
        weightScratch,
        weights);
    codec.encode(kernels, weightScratch, 0, block, coded, to - from);
  }

  private void operate(
      MemorySegment block,
      Operation op,
      @org.jspecify.annotations.Nullable Optimizer rule,
      long step,
      int first,
      int length,
      int elements,
      MemorySegment values,
      long valuesOffset,
      MemorySegment weights,
      long weightsOffset) {
    switch (op) {
      case ASSIGN -> MemorySegment.copy(values, valuesOffset, weights, weightsOffset, 4L * length);
      case ADD -> kernels.add(weights, weightsOffset, values, valuesOffset, length);
      case GRADIENT ->
          java.util.Objects.requireNonNull(rule)
              .step(
                  kernels,
                  step,
                  weights,
                  weightsOffset,
                  values,
                  valuesOffset,
                  block,
                  BlockLayout.stateOffset(block) + 4L * first,
                  4L * elements,
                  length);
    }
  }

  private static MemorySegment grow(MemorySegment scratch, long bytes) {
    if (scratch.byteSize() >= bytes) {
      return scratch;
    }
    OffHeap.free(scratch);
    return OffHeap.allocate(bytes);
  }

  @Override
  public void close() {
    OffHeap.free(weightScratch);
    OffHeap.free(payloadScratch);
  }
}
