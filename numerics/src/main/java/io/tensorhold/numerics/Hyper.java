package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/**
 * The checks that optimizers and schedules share: of hyper-parameters, and of a step's operands.
 */
final class Hyper {
  /** Above every sensible value, and far from overflow in f32. */
  static final double LARGEST = 1e9;

  /** What is divided by may not be below this, so that a reciprocal is finite in f32. */
  private static final double SMALLEST_DIVISOR = 1e-9;

  private final String kind;
  private final Map<String, Double> given;
  private final Map<String, Double> complete = new LinkedHashMap<>();

  Hyper(String kind, Map<String, Double> given) {
    this.kind = kind;
    this.given = given;
  }

  /** The value given, or the default, from 0 to {@link #LARGEST}. */
  double nonNegative(String name, double byDefault) {
    double value = value(name, byDefault);
    if (!(value >= 0 && value <= LARGEST)) {
      throw refused(name, value, "0 to 1e9");
    }
    return value;
  }

  /** The value given, or the default, of either sign. */
  double signed(String name, double byDefault) {
    double value = value(name, byDefault);
    if (!(Math.abs(value) <= LARGEST)) {
      throw refused(name, value, "-1e9 to 1e9");
    }
    return value;
  }

  /** The value given, or the default, from 0 to below 1. */
  double belowOne(String name, double byDefault) {
    double value = value(name, byDefault);
    // As f32: nearer to 1, the correction 1 − beta would be 0 there.
    if (!(value >= 0 && (float) value < 1f)) {
      throw refused(name, value, "0 to below 1 (at most 0.99999994, in f32)");
    }
    return value;
  }

  /** The value given, or the default, from {@link #SMALLEST_DIVISOR} to {@link #LARGEST}. */
  double positive(String name, double byDefault) {
    double value = value(name, byDefault);
    if (!(value >= SMALLEST_DIVISOR && value <= LARGEST)) {
      throw refused(name, value, "1e-9 to 1e9");
    }
    return value;
  }

  /** The value given, or the default, from 0 to 1. */
  double share(String name, double byDefault) {
    double value = value(name, byDefault);
    if (!(value >= 0 && value <= 1)) {
      throw refused(name, value, "0 to 1");
    }
    return value;
  }

  /** The whole number given, or the default. */
  long whole(String name, long byDefault, long least, long most) {
    double value = value(name, (double) byDefault);
    if (!(value >= least && value <= most && value == Math.rint(value))) {
      throw refused(name, value, "whole numbers from %d to %d".formatted(least, most));
    }
    return (long) value;
  }

  /** The flag given, 0 or 1, or false. */
  boolean flag(String name) {
    double value = value(name, 0);
    if (value != 0 && value != 1) {
      throw refused(name, value, "0 or 1");
    }
    return value == 1;
  }

  private double value(String name, double byDefault) {
    Double own = given.get(name);
    double value = own == null ? byDefault : own + 0.0; // −0 becomes 0
    complete.put(name, value);
    return value;
  }

  /** The strength of an L1 penalty, which most optimizers take. */
  float l1() {
    return complete.getOrDefault("l1", 0.0).floatValue();
  }

  /** Everything asked for above. */
  Map<String, Double> complete() {
    return Collections.unmodifiableMap(complete);
  }

  /** Refuses a name that was given and not asked for. */
  void refuseUnknown() {
    for (String name : given.keySet()) {
      if (!complete.containsKey(name)) {
        throw new IllegalArgumentException(
            "unknown hyper-parameter of %s: value=\"%s\" known=%s"
                .formatted(kind, name, String.join(", ", complete.keySet())));
      }
    }
  }

  private IllegalArgumentException refused(String name, double value, String allowed) {
    return new IllegalArgumentException(
        "hyper-parameter %s of %s is out of range: value=%s allowed=%s"
            .formatted(name, kind, value, allowed));
  }

  static void checkOperand(MemorySegment f32, long offset, int n) {
    Objects.checkFromIndexSize(offset, 4L * n, f32.byteSize());
  }
}
