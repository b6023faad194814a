package io.tensorhold.server.shard;

import io.tensorhold.numerics.BlockSums;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Norms;
import io.tensorhold.numerics.StochasticRounding;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.store.BlockLayout;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;

/**
 * The arithmetic of one push on one block: decode, operate, encode, in a fixed order.
 *
 * <p>Only the elements that the push names are touched, in runs. Under a codec with groups whole
 * groups are worked on: the neighbours of a touched element share its scale. So is encoded
 * optimizer state.
 */
final class BlockUpdate implements AutoCloseable {
  private final Kernels kernels;
  private MemorySegment weightScratch = OffHeap.allocate(0);
  private MemorySegment payloadScratch = OffHeap.allocate(0);
  private MemorySegment stateScratch = OffHeap.allocate(0);

  BlockUpdate(Kernels kernels) {
    this.kernels = kernels;
  }

  /** A push's part on its block; {@code command} is that of a gradient's step. */
  private record Work(
      MemorySegment block,
      ParameterRecord parameter,
      Operation operation,
      int elements,
      UpdateRule.Command command) {}

  /**
   * Updates a block from part {@code i} of a push, whose payload starts at {@code offset}; both
   * were checked.
   *
   * @param index of the log entry; it decides how stochastic rounding falls
   */
  void apply(
      MemorySegment block,
      ParameterRecord parameter,
      PushCommand push,
      int i,
      long offset,
      long index) {
    int elements = BlockLayout.elements(block);
    Part part = push.parts().get(i);
    Operation op = push.operation();
    if (op == Operation.ASSIGN && part.codec() == parameter.codec()) {
      assign(block, parameter, part, push.payload(), offset, elements);
      return;
    }
    MemorySegment values = push.payload();
    long at = offset;
    boolean prepared =
        op == Operation.GRADIENT && parameter.rule().preparesGradient(push.gradientScale());
    if (part.codec() != Codec.F32 || prepared) {
      values = decode(parameter, part, op, values, offset, (int) part.elements(elements));
      at = 0;
    }
    Work work = new Work(block, parameter, op, elements, command(block, push, i, index));
    if (op == Operation.GRADIENT) {
      BlockLayout.setStep(block, work.command.number());
    }
    if (part.runs().length == 0) {
      run(work, 0, elements, values, at);
      return;
    }
    int first = 0;
    for (int run = 0; run < part.runs().length; run += 2) {
      first += part.runs()[run];
      int length = part.runs()[run + 1];
      run(work, first, length, values, at);
      first += length;
      at += 4L * length;
    }
  }

  private static UpdateRule.Command command(
      MemorySegment block, PushCommand push, int i, long index) {
    Part part = push.parts().get(i);
    long step = BlockLayout.step(block);
    long seed = StochasticRounding.seed(part.parameter(), part.block(), index, 0);
    return new UpdateRule.Command(
        step + 1, push.gradientScale(), push.trust(i), seed, part.staleness(step));
  }

  /** The payload as f32 of our own; a gradient is clipped by value. */
  private MemorySegment decode(
      ParameterRecord parameter,
      Part part,
      Operation op,
      MemorySegment payload,
      long offset,
      int count) {
    payloadScratch = grow(payloadScratch, 4L * count);
    part.codec().decode(kernels, payload, offset, payloadScratch, 0, count);
    if (op == Operation.GRADIENT) {
      parameter.rule().clip(kernels, payloadScratch, 0, count);
    }
    return payloadScratch;
  }

  /**
   * The sums of squares that a push of gradients adds to those over all blocks, part by part, for
   * the factors that it must carry when it goes to the log. Nothing is changed. LAMB's directions
   * depend on the gradient scale: measure without it, then, if it is not 1, once more with it.
   *
   * @param known the parameters of its parts, which were checked
   * @param blocks reads a block of a parameter, held for us
   */
  List<BlockSums> measure(
      PushCommand push,
      Map<Long, ParameterRecord> known,
      BiFunction<ParameterRecord, Integer, Unit> blocks) {
    List<BlockSums> sums = new ArrayList<>();
    long offset = 0;
    for (int i = 0; i < push.parts().size(); i++) {
      Part part = push.parts().get(i);
      ParameterRecord parameter = known.get(part.parameter());
      Unit unit = blocks.apply(parameter, part.block());
      try {
        sums.add(measure(unit.memory(), parameter, push, i, offset));
      } finally {
        unit.release();
      }
      offset += part.payloadBytes();
    }
    return sums;
  }

  private BlockSums measure(
      MemorySegment block, ParameterRecord parameter, PushCommand push, int i, long offset) {
    Part part = push.parts().get(i);
    int elements = BlockLayout.elements(block);
    int count = (int) part.elements(elements);
    MemorySegment g = decode(parameter, part, Operation.GRADIENT, push.payload(), offset, count);
    double gradient = Norms.sumOfSquares(kernels, g, 0, count);
    UpdateRule rule = parameter.rule();
    if (!rule.optimizer().needsTrust()) {
      return new BlockSums(part.parameter(), part.block(), gradient, 0, 0);
    }
    weightScratch = grow(weightScratch, 4L * elements);
    MemorySegment w = weightScratch;
    parameter.codec().decode(kernels, block, BlockLayout.HEADER_BYTES, w, 0, elements);
    rule.prepare(kernels, push.gradientScale(), w, 0, g, 0, elements);
    stateScratch = grow(stateScratch, rule.scratchBytes());
    rule.direction(
        kernels,
        command(block, push, i, 0),
        w,
        0,
        g,
        0,
        block,
        BlockLayout.stateOffset(block),
        elements,
        stateScratch);
    return new BlockSums(
        part.parameter(),
        part.block(),
        gradient,
        Norms.sumOfSquares(kernels, w, 0, elements),
        Norms.sumOfSquares(kernels, g, 0, elements));
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

  private void run(Work work, int first, int length, MemorySegment values, long valuesOffset) {
    Codec codec = work.parameter.codec();
    if (codec == Codec.F32) {
      long weights = BlockLayout.HEADER_BYTES + 4L * first;
      operate(work, first, length, values, valuesOffset, work.block, weights);
      return;
    }
    int group = codec.group();
    int from = first / group * group;
    int to = (int) Math.min(work.elements, Math.ceilDiv((long) first + length, group) * group);
    long coded = BlockLayout.HEADER_BYTES + codec.bytes(DType.F32, from);
    weightScratch = grow(weightScratch, 4L * (to - from));
    codec.decode(kernels, work.block, coded, weightScratch, 0, to - from);
    operate(work, first, length, values, valuesOffset, weightScratch, 4L * (first - from));
    if (work.operation == Operation.GRADIENT && work.parameter.rule().stochastic(codec)) {
      long seed = UpdateRule.weightSeed(work.command, from);
      codec.encodeStochastic(kernels, weightScratch, 0, work.block, coded, to - from, seed);
    } else {
      codec.encode(kernels, weightScratch, 0, work.block, coded, to - from);
    }
  }

  private void operate(
      Work work,
      int first,
      int length,
      MemorySegment values,
      long valuesOffset,
      MemorySegment weights,
      long weightsOffset) {
    switch (work.operation) {
      case ASSIGN -> MemorySegment.copy(values, valuesOffset, weights, weightsOffset, 4L * length);
      case ADD -> kernels.add(weights, weightsOffset, values, valuesOffset, length);
      case RESTORE -> throw new IllegalArgumentException("RESTORE is for rows of tables");
      case GRADIENT -> {
        UpdateRule rule = work.parameter.rule();
        float scale = work.command.gradientScale();
        stateScratch = grow(stateScratch, rule.scratchBytes());
        rule.prepare(kernels, scale, weights, weightsOffset, values, valuesOffset, length);
        rule.step(
            kernels,
            work.command,
            weights,
            weightsOffset,
            values,
            valuesOffset,
            work.block,
            BlockLayout.stateOffset(work.block),
            first,
            length,
            work.elements,
            stateScratch);
      }
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
    OffHeap.free(stateScratch);
  }
}
