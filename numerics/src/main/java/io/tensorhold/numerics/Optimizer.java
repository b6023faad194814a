package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Map;

/**
 * The rule by which a gradient changes weights, with PyTorch's names, defaults and order of
 * operations.
 *
 * <p>It holds hyper-parameters only. What a rule remembers of an element, its slots, belongs to the
 * caller: f32, beside the weights.
 */
public sealed interface Optimizer permits Sgd, Adam {
  /**
   * The optimizer of a kind, {@code "sgd"}, {@code "adam"} or {@code "adamw"}; hyper-parameters
   * that are absent take PyTorch's defaults.
   *
   * @throws IllegalArgumentException if the kind or a name is unknown, a value is out of its range,
   *     or nesterov is set without momentum or with dampening; the message names the range
   */
  static Optimizer of(String kind, Map<String, Double> hyper) {
    return switch (kind) {
      case Sgd.KIND -> new Sgd(hyper);
      case Adam.COUPLED, Adam.DECOUPLED -> new Adam(kind, hyper);
      default ->
          throw new IllegalArgumentException(
              "unknown optimizer: value=\"%s\" known=sgd, adam, adamw".formatted(kind));
    };
  }

  /** The kind that {@link #of} takes. */
  String kind();

  /** All hyper-parameters, defaults included, in a fixed order; {@link #of} takes them back. */
  Map<String, Double> hyper();

  /** f32 values that the optimizer remembers of each element: 0, 1 or 2. */
  int slots();

  /**
   * Makes one step over {@code n} elements, all f32: weights {@code w} are updated from gradients
   * {@code g}. Slot s of element i lies at {@code stateOff + s * slotStride + 4 * i}.
   *
   * <p>Steps are counted from 1 for each block. Slots hold zeros before step 1. Factors that depend
   * on the step alone are computed in f64 and rounded to f32 once per call.
   *
   * @throws IllegalArgumentException if step is below 1
   * @throws IndexOutOfBoundsException if a segment is too short; nothing is written then
   */
  void step(
      Kernels k,
      long step,
      MemorySegment w,
      long wOff,
      MemorySegment g,
      long gOff,
      MemorySegment state,
      long stateOff,
      long slotStride,
      int n);
}
