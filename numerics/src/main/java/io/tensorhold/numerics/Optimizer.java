package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Map;

/**
 * The rule by which a gradient changes weights. Those that PyTorch has follow its names, defaults
 * and order of operations; the others name their paper.
 *
 * <p>It holds hyper-parameters only. What a rule remembers of an element, its slots, belongs to the
 * caller: f32 values, which {@link StateCodec} may keep in fewer bytes between steps.
 *
 * <p>Every rule but ftrl and average takes {@code l1}: l1 · sign(w) is added to the gradient before
 * the rule sees it, by {@link UpdateRule}. Its {@code weight_decay} is L2 likewise, in the rule.
 */
public abstract sealed class Optimizer
    permits Sgd, Adam, Adagrad, RowAdagrad, RmsProp, Adadelta, Ftrl, Lion, Lamb, Average {
  /** The kinds that {@link #of} takes, for messages. */
  public static final String KINDS =
      "sgd, adam, adamw, adagrad, adagrad_row, rmsprop, adadelta, ftrl, lion, lamb, average";

  private final String kind;
  private final Hyper values;

  /**
   * Which step is made.
   *
   * @param number counts from 1 for each block
   * @param rate what the learning rate is multiplied by: the schedule's factor, less for a stale
   *     gradient
   * @param trust LAMB's trust ratio of the whole parameter; others do not look at it
   */
  public record Step(long number, double rate, float trust) {
    /** A step at the constant rate. */
    public static Step of(long number) {
      return new Step(number, 1, 1);
    }
  }

  Optimizer(String kind, Hyper values) {
    this.kind = kind;
    this.values = values;
  }

  /**
   * The optimizer of a kind, one of {@link #KINDS}; hyper-parameters that are absent take PyTorch's
   * defaults, or the paper's.
   *
   * @throws IllegalArgumentException if the kind or a name is unknown, a value is out of its range,
   *     or two contradict each other; the message names the value and the range
   */
  public static Optimizer of(String kind, Map<String, Double> given) {
    Hyper values = new Hyper(kind, given);
    Optimizer optimizer =
        switch (kind) {
          case "sgd" -> new Sgd(values);
          case "adam", "adamw" -> new Adam(kind, values);
          case "adagrad" -> new Adagrad(values);
          case "adagrad_row" -> new RowAdagrad(values);
          case "rmsprop" -> new RmsProp(values);
          case "adadelta" -> new Adadelta(values);
          case "ftrl" -> new Ftrl(values);
          case "lion" -> new Lion(values);
          case "lamb" -> new Lamb(values);
          case "average" -> new Average(values);
          default ->
              throw new IllegalArgumentException(
                  "unknown optimizer: value=\"%s\" known=%s".formatted(kind, KINDS));
        };
    values.refuseUnknown();
    return optimizer;
  }

  /** The kind that {@link #of} takes. */
  public final String kind() {
    return kind;
  }

  /** All hyper-parameters, defaults included, in a fixed order; {@link #of} takes them back. */
  public final Map<String, Double> hyper() {
    return values.complete();
  }

  /** Values that the optimizer remembers of each element (adagrad_row: of each row). */
  public abstract int slots();

  /** What a slot holds before the first step. */
  public float initial(int slot) {
    return 0;
  }

  /** Whether a slot may hold negative values; a sum or mean of squares may not. */
  boolean signed(int slot) {
    return false;
  }

  /** Why the slots must be kept as f32; empty if 8 bits do. */
  public String needsF32State() {
    return "";
  }

  /** Whether {@link Step#trust} must be known: it takes sums over all blocks of the parameter. */
  public boolean needsTrust() {
    return false;
  }

  /** Elements that share each slot's value: more than 1 for adagrad_row only. */
  public int row() {
    return 1;
  }

  /** Whether a {@link Schedule} may change its rate. */
  public boolean hasRate() {
    return true;
  }

  /** Strength of the L1 penalty that is added to the gradient. */
  float l1() {
    return values.l1();
  }

  /** f32 values that all slots of a run of elements hold together. */
  public final long stateValues(int elements) {
    return (long) slots() * Math.ceilDiv(elements, row());
  }

  /**
   * {@link #step(Kernels, Step, MemorySegment, long, MemorySegment, long, MemorySegment, long,
   * long, int)} at the constant rate.
   */
  public final void step(
      Kernels k,
      long number,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment state,
      long stateOff,
      long slotStride,
      int n) {
    step(k, Step.of(number), w, wOff, g, gOff, state, stateOff, slotStride, n);
  }

  /**
   * Makes one step over {@code n} elements, all f32: weights {@code w} are updated from gradients
   * {@code g}. Slot s of element i lies at {@code stateOff + s * slotStride + 4 * (i / row)}.
   *
   * <p>Slots hold {@link #initial} before step 1. Factors that depend on the step alone are
   * computed in f64, with StrictMath, and rounded to f32 once per call.
   *
   * @throws IllegalArgumentException if the step's number is below 1
   * @throws IndexOutOfBoundsException if a segment is too short; nothing is written then
   */
  public final void step(
      Kernels k,
      Step step,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment state,
      long stateOff,
      long slotStride,
      int n) {
    if (step.number() < 1) {
      throw new IllegalArgumentException("step out of range: value=" + step.number() + " limit>=1");
    }
    Hyper.checkOperand(w, wOff, n);
    Hyper.checkOperand(g, gOff, n);
    for (int slot = 0; slot < slots(); slot++) {
      Hyper.checkOperand(state, stateOff + slot * slotStride, Math.ceilDiv(n, row()));
    }
    update(k.optimizers(), step, w, wOff, g, gOff, state, stateOff, slotStride, n);
  }

  abstract void update(
      OptimizerKernels k,
      Step step,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment s,
      long sOff,
      long stride,
      int n);

  @Override
  public final boolean equals(Object other) {
    return other instanceof Optimizer that
        && kind.equals(that.kind)
        && hyper().equals(that.hyper());
  }

  @Override
  public final int hashCode() {
    return hyper().hashCode();
  }

  /** Such as {@code sgd {lr=0.1, momentum=0.9}}. */
  @Override
  public final String toString() {
    return kind + " " + hyper();
  }
}
