package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Initializer;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.StochasticRounding;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.store.RowLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * The arithmetic of a row: what it begins as, and what a push makes of it, as {@link BlockUpdate}
 * does for a block of so many elements.
 */
final class RowUpdate implements AutoCloseable {
  /** Steps of a whole row, before its weights. */
  static final ValueLayout.OfInt STEPS =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final Kernels kernels;
  private MemorySegment weightScratch = OffHeap.allocate(0);
  private MemorySegment valueScratch = OffHeap.allocate(0);
  private MemorySegment stateScratch = OffHeap.allocate(0);

  RowUpdate(Kernels kernels) {
    this.kernels = kernels;
  }

  /** Writes a row that no push has reached. */
  void initialize(ParameterRecord table, long key, MemorySegment memory, long row) {
    RowLayout.clear(memory, row);
    initialWeights(table, key, memory, row + RowLayout.HEADER_BYTES);
    if (table.trained()) {
      long state = row + RowLayout.HEADER_BYTES + table.rowWeightBytes();
      table.rule().initialize(kernels, memory, state, table.form().dim());
    }
  }

  private void initialWeights(ParameterRecord table, long key, MemorySegment target, long at) {
    TableForm form = table.form();
    long seed = Initializer.rowSeed(form.seed(), key);
    if (table.codec() == Codec.F32) {
      form.initializer().fill(kernels, seed, target, at, form.dim());
    } else if (form.initializer().zeros()) {
      target.asSlice(at, table.rowWeightBytes()).fill((byte) 0);
    } else {
      weightScratch = grow(weightScratch, 4L * form.dim());
      form.initializer().fill(kernels, seed, weightScratch, 0, form.dim());
      table.codec().encode(kernels, weightScratch, 0, target, at, form.dim());
    }
  }

  /** Writes a row's weights under a codec. */
  void read(
      ParameterRecord table,
      MemorySegment memory,
      long row,
      Codec codec,
      MemorySegment out,
      long at) {
    recode(table, memory, row + RowLayout.HEADER_BYTES, codec, out, at);
  }

  /** Writes the weights of a row that no push has reached, under a codec. */
  void readInitial(ParameterRecord table, long key, Codec codec, MemorySegment out, long at) {
    if (codec == table.codec()) {
      initialWeights(table, key, out, at);
      return;
    }
    valueScratch = grow(valueScratch, table.rowWeightBytes());
    initialWeights(table, key, valueScratch, 0);
    recode(table, valueScratch, 0, codec, out, at);
  }

  private void recode(
      ParameterRecord table,
      MemorySegment weights,
      long from,
      Codec codec,
      MemorySegment out,
      long at) {
    int dim = table.form().dim();
    if (codec == table.codec()) {
      MemorySegment.copy(weights, from, out, at, table.rowWeightBytes());
    } else if (codec == Codec.F32) {
      table.codec().decode(kernels, weights, from, out, at, dim);
    } else {
      weightScratch = grow(weightScratch, 4L * dim);
      table.codec().decode(kernels, weights, from, weightScratch, 0, dim);
      codec.encode(kernels, weightScratch, 0, out, at, dim);
    }
  }

  /**
   * Updates a row from its values in a push that was checked.
   *
   * @param index of the log entry; it decides how stochastic rounding falls
   */
  void apply(
      ParameterRecord table,
      RowsCommand push,
      long key,
      MemorySegment values,
      long valuesAt,
      MemorySegment memory,
      long row,
      long index) {
    int dim = table.form().dim();
    Operation operation = push.operation();
    long weights = row + RowLayout.HEADER_BYTES;
    if (operation == Operation.RESTORE) {
      RowLayout.setStep(memory, row, Integer.toUnsignedLong(values.get(STEPS, valuesAt)));
      long bytes = (long) table.rowBytes() - RowLayout.HEADER_BYTES;
      MemorySegment.copy(values, valuesAt + STEPS.byteSize(), memory, weights, bytes);
      return;
    }
    if (operation == Operation.ASSIGN && push.codec() == table.codec()) {
      MemorySegment.copy(values, valuesAt, memory, weights, table.rowWeightBytes());
      return;
    }
    MemorySegment x = values;
    long at = valuesAt;
    boolean gradient = operation == Operation.GRADIENT;
    if (push.codec() != Codec.F32 || (gradient && table.rule().preparesGradient(1))) {
      valueScratch = grow(valueScratch, 4L * dim);
      push.codec().decode(kernels, values, valuesAt, valueScratch, 0, dim);
      x = valueScratch;
      at = 0;
    }
    if (table.codec() == Codec.F32) {
      operate(table, operation, key, index, x, at, memory, row, memory, weights);
      return;
    }
    weightScratch = grow(weightScratch, 4L * dim);
    table.codec().decode(kernels, memory, weights, weightScratch, 0, dim);
    operate(table, operation, key, index, x, at, memory, row, weightScratch, 0);
    if (gradient && table.rule().stochastic(table.codec())) {
      long seed = UpdateRule.weightSeed(command(table, key, index, memory, row), 0);
      table.codec().encodeStochastic(kernels, weightScratch, 0, memory, weights, dim, seed);
    } else {
      table.codec().encode(kernels, weightScratch, 0, memory, weights, dim);
    }
  }

  /** Of the step whose number the row holds. */
  private static UpdateRule.Command command(
      ParameterRecord table, long key, long index, MemorySegment memory, long row) {
    long seed = StochasticRounding.seed(table.id(), key, index, 0);
    return new UpdateRule.Command(RowLayout.step(memory, row), 1, 1, seed);
  }

  private void operate(
      ParameterRecord table,
      Operation operation,
      long key,
      long index,
      MemorySegment x,
      long at,
      MemorySegment memory,
      long row,
      MemorySegment weights,
      long weightsAt) {
    int dim = table.form().dim();
    switch (operation) {
      case ASSIGN -> MemorySegment.copy(x, at, weights, weightsAt, 4L * dim);
      case ADD -> kernels.add(weights, weightsAt, x, at, dim);
      case RESTORE -> throw new IllegalArgumentException("a whole row is not computed with");
      case GRADIENT -> {
        UpdateRule rule = table.rule();
        RowLayout.setStep(memory, row, RowLayout.step(memory, row) + 1);
        stateScratch = grow(stateScratch, rule.scratchBytes());
        if (rule.preparesGradient(1)) {
          rule.clip(kernels, x, at, dim);
          rule.prepare(kernels, 1, weights, weightsAt, x, at, dim);
        }
        rule.step(
            kernels,
            command(table, key, index, memory, row),
            weights,
            weightsAt,
            x,
            at,
            memory,
            row + RowLayout.HEADER_BYTES + table.rowWeightBytes(),
            0,
            dim,
            dim,
            stateScratch);
      }
    }
  }

  /** Bytes of a row in the values of a push. */
  static long bytes(ParameterRecord table, RowsCommand push) {
    return push.operation() == Operation.RESTORE ? wholeBytes(table) : bytes(table, push.codec());
  }

  /** Bytes of a whole row: its steps, weights and optimizer state. */
  static long wholeBytes(ParameterRecord table) {
    return STEPS.byteSize() + table.rowBytes() - RowLayout.HEADER_BYTES;
  }

  /** Bytes of a row's weights under a codec. */
  static long bytes(ParameterRecord table, Codec codec) {
    return codec.bytes(DType.F32, table.form().dim());
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
    OffHeap.free(valueScratch);
    OffHeap.free(stateScratch);
  }
}
