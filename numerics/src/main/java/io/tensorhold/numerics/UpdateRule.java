package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/**
 * All that says how a gradient changes the weights of a parameter and what is remembered of it.
 *
 * <p>A step does, in this order: clip the gradient by value; multiply it by the coefficient that
 * clips its global norm; add l1 · sign(w); the optimizer, at the rate of the schedule; encode the
 * state. It looks at one block only: what takes sums over blocks comes with the step.
 *
 * @param clipValue largest magnitude of a gradient's element; 0: no limit
 * @param clipNorm largest norm of the gradient of all parameters together; 0: no limit
 * @param rounding of updated weights to a narrow codec
 */
public record UpdateRule(
    Optimizer optimizer,
    Schedule schedule,
    double clipValue,
    double clipNorm,
    StateCodec stateCodec,
    Rounding rounding) {
  /** Elements that a step over encoded state decodes at a time: in cache, and whole groups. */
  private static final int CHUNK = 4096;

  /**
   * Checks that the parts go together.
   *
   * @throws IllegalArgumentException naming what does not, the value seen and the value allowed
   */
  public UpdateRule {
    checkLimit("clip_value", clipValue);
    checkLimit("clip_norm", clipNorm);
    if (stateCodec != StateCodec.F32 && !optimizer.needsF32State().isEmpty()) {
      throw new IllegalArgumentException(
          "state of %s can't be kept as %s, because %s: allowed=f32"
              .formatted(optimizer.kind(), stateCodec.label(), optimizer.needsF32State()));
    }
    if (!optimizer.hasRate() && !schedule.equals(Schedule.CONSTANT)) {
      throw new IllegalArgumentException(
          "the rate of %s falls by itself, element by element: schedule value=%s allowed=constant"
              .formatted(optimizer.kind(), schedule.kind()));
    }
  }

  /** A rule with an optimizer and no more: constant rate, no clipping, f32 state. */
  public static UpdateRule of(Optimizer optimizer) {
    return new UpdateRule(optimizer, Schedule.CONSTANT, 0, 0, StateCodec.F32, Rounding.NEAREST);
  }

  private static void checkLimit(String name, double value) {
    if (!(value >= 0 && value <= Hyper.LARGEST && (value == 0 || (float) value > 0))) {
      throw new IllegalArgumentException(
          "%s is out of range: value=%s allowed=above 0, to 1e9; 0 for no limit"
              .formatted(name, value));
    }
  }

  /**
   * What a step takes from its command.
   *
   * @param number of the block's step, from 1
   * @param gradientScale clips the global norm; 1: nothing to clip
   * @param trust LAMB's ratio; 1 for all others
   * @param seed of all stochastic rounding: a hash of the block and the log index
   * @param staleness steps that the block made since the values which the gradient was computed at;
   *     the rate is divided by 1 + staleness. 0: none, or not to be looked at
   */
  public record Command(long number, float gradientScale, float trust, long seed, long staleness) {
    /** Of a gradient of the present values. */
    public Command(long number, float gradientScale, float trust, long seed) {
      this(number, gradientScale, trust, seed, 0);
    }
  }

  /** Whether weights in a codec are rounded stochastically after a gradient. */
  public boolean stochastic(Codec weights) {
    return rounding == Rounding.STOCHASTIC && weights.stochastic();
  }

  /** The seed of the rounding of weights from an element of the block on. */
  public static long weightSeed(Command command, int first) {
    return StochasticRounding.seed(command.seed(), -1, command.number(), first);
  }

  /** Bytes of the state of a block. */
  public long stateBytes(int elements) {
    return stateCodec.bytes(optimizer, elements);
  }

  /** Bytes of scratch that {@link #step} and {@link #prepare} take, whatever the block's size. */
  public long scratchBytes() {
    return 4L * CHUNK * optimizer.slots();
  }

  /** Writes the state of a block that has made no step. */
  public void initialize(Kernels k, MemorySegment state, long offset, int elements) {
    long slotBytes = optimizer.slots() == 0 ? 0 : stateBytes(elements) / optimizer.slots();
    for (int slot = 0; slot < optimizer.slots(); slot++) {
      MemorySegment target = state.asSlice(offset + slot * slotBytes, slotBytes);
      if (optimizer.initial(slot) == 0) {
        target.fill((byte) 0);
      } else {
        fill(k, slot, target, elements);
      }
    }
  }

  private void fill(Kernels k, int slot, MemorySegment target, int elements) {
    int values = Math.ceilDiv(elements, optimizer.row());
    MemorySegment constant = MemorySegment.ofArray(new byte[4 * values]);
    for (int i = 0; i < values; i++) {
      ScalarOptimizers.write(constant, 4L * i, optimizer.initial(slot));
    }
    if (stateCodec == StateCodec.F32) {
      target.copyFrom(constant);
    } else {
      k.optimizers().encodeState(optimizer.signed(slot), 0, constant, 0, target, 0, values);
    }
  }

  /** Whether {@link #prepare} changes the gradient, which must then be the caller's own copy. */
  public boolean preparesGradient(float gradientScale) {
    return clipValue > 0 || gradientScale != 1 || optimizer.l1() > 0;
  }

  /** Clips a gradient by value, as it is before its norm is taken. */
  public void clip(Kernels k, MemorySegment g, long gOff, int n) {
    Norms.clip(k, clipValue, g, gOff, n);
  }

  /** Does to a clipped gradient what comes before the optimizer. */
  public void prepare(
      Kernels k,
      float gradientScale,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      int n) {
    Hyper.checkOperand(w, wOff, n);
    Hyper.checkOperand(g, gOff, n);
    if (gradientScale != 1) {
      k.scale(g, gOff, gradientScale, n);
    }
    if (optimizer.l1() > 0) {
      k.optimizers().addL1(optimizer.l1(), w, wOff, g, gOff, n);
    }
  }

  /**
   * Makes one step over the elements {@code first} to {@code first + n} of a block.
   *
   * @param w the weights of these elements, as f32
   * @param g their gradients, after {@link #clip} and {@link #prepare}
   * @param state where the state of the whole block lies, from {@code stateOff} on
   * @param elements of the whole block
   * @param scratch at least {@link #scratchBytes}
   */
  public void step(
      Kernels k,
      Command command,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment state,
      long stateOff,
      int first,
      int n,
      int elements,
      MemorySegment scratch) {
    Optimizer.Step step = optimizerStep(command);
    if (stateCodec == StateCodec.F32 || optimizer.slots() == 0) {
      int row = optimizer.row();
      long at = stateOff + 4L * (first / row);
      long stride = 4L * Math.ceilDiv(elements, row);
      optimizer.step(k, step, w, wOff, g, gOff, state, at, stride, n);
      return;
    }
    int end = first + n;
    for (int from = first / StateCodec.GROUP * StateCodec.GROUP; from < end; from += CHUNK) {
      int to = Math.min(Math.min(from + CHUNK, elements), groupEnd(end));
      decode(k, state, stateOff, from, to, elements, scratch);
      int begin = Math.max(first, from);
      int length = Math.min(end, to) - begin;
      optimizer.step(
          k,
          step,
          w,
          wOff + 4L * (begin - first),
          g,
          gOff + 4L * (begin - first),
          scratch,
          4L * (begin - from),
          4L * CHUNK,
          length);
      encode(k, command, state, stateOff, from, to, elements, scratch);
    }
  }

  private static int groupEnd(int end) {
    return (int)
        Math.min(
            Integer.MAX_VALUE, (end + StateCodec.GROUP - 1L) / StateCodec.GROUP * StateCodec.GROUP);
  }

  private Optimizer.Step optimizerStep(Command command) {
    double rate = schedule.factor(command.number());
    return new Optimizer.Step(
        command.number(),
        command.staleness() == 0 ? rate : rate / (1.0 + command.staleness()),
        command.trust());
  }

  private void decode(
      Kernels k,
      MemorySegment state,
      long stateOff,
      int from,
      int to,
      int elements,
      MemorySegment scratch) {
    for (int slot = 0; slot < optimizer.slots(); slot++) {
      long at = stateOff + slot * Float8State.bytes(elements) + Float8State.bytes(from);
      k.optimizers()
          .decodeState(optimizer.signed(slot), state, at, scratch, 4L * CHUNK * slot, to - from);
    }
  }

  private void encode(
      Kernels k,
      Command command,
      MemorySegment state,
      long stateOff,
      int from,
      int to,
      int elements,
      MemorySegment scratch) {
    for (int slot = 0; slot < optimizer.slots(); slot++) {
      long at = stateOff + slot * Float8State.bytes(elements) + Float8State.bytes(from);
      long own = StochasticRounding.seed(command.seed(), slot, command.number(), from);
      k.optimizers()
          .encodeState(
              optimizer.signed(slot), own, scratch, 4L * CHUNK * slot, state, at, to - from);
    }
  }

  /**
   * Replaces prepared gradients of a whole block by LAMB's directions; nothing else changes.
   * Operands are as in {@link #step}.
   *
   * @throws IllegalStateException if the optimizer is another
   */
  public void direction(
      Kernels k,
      Command command,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment state,
      long stateOff,
      int elements,
      MemorySegment scratch) {
    if (!(optimizer instanceof Lamb lamb)) {
      throw new IllegalStateException(optimizer.kind() + " has no direction to measure");
    }
    Optimizer.Step step = optimizerStep(command);
    if (stateCodec == StateCodec.F32) {
      lamb.direction(k, step, w, wOff, g, gOff, state, stateOff, 4L * elements, elements);
      return;
    }
    for (int from = 0; from < elements; from += CHUNK) {
      int to = Math.min(from + CHUNK, elements);
      decode(k, state, stateOff, from, to, elements, scratch);
      long at = 4L * from;
      lamb.direction(k, step, w, wOff + at, g, gOff + at, scratch, 0, 4L * CHUNK, to - from);
    }
  }
}
