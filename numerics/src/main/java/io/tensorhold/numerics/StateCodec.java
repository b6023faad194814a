package io.tensorhold.numerics;

import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * How the optimizer state of a block is kept between steps: slot after slot.
 *
 * <p>Ids are on disk and in the protocol: do not change them.
 *
 * <pre>
 * f32     4 B                little-endian
 * float8  1 B, + 2 for 256   8-bit floats with a shared exponent; Float8State draws them
 * </pre>
 */
public enum StateCodec {
  F32(1),
  FLOAT8(2);

  /** What the groups of every codec divide: a block of float8 is worked on in whole ones. */
  static final int GROUP = Float8State.GROUP;

  private final int id;

  StateCodec(int id) {
    this.id = id;
  }

  /** The persistent number: on disk, do not change. */
  public int id() {
    return id;
  }

  /** The name that people write: f32 or float8. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** Bytes of the state of so many elements. */
  public long bytes(Optimizer optimizer, int elements) {
    return switch (this) {
      case F32 -> 4 * optimizer.stateValues(elements);
      case FLOAT8 -> optimizer.slots() * Float8State.bytes(elements);
    };
  }

  /** Bytes of one value, its share of the group's included; for planning. */
  public double bytesPerValue() {
    return this == F32 ? 4 : 1 + 2.0 / GROUP;
  }

  /**
   * The codec with a persistent number.
   *
   * @throws IllegalArgumentException if none has it
   */
  public static StateCodec ofId(int id) {
    for (StateCodec codec : values()) {
      if (codec.id == id) {
        return codec;
      }
    }
    throw new IllegalArgumentException("unknown state codec: value=%d allowed=1..2".formatted(id));
  }

  /**
   * The codec with a label; case does not matter.
   *
   * @throws IllegalArgumentException if none has it; the message names all that do
   */
  public static StateCodec ofName(String name) {
    for (StateCodec codec : values()) {
      if (codec.label().equalsIgnoreCase(name)) {
        return codec;
      }
    }
    throw new IllegalArgumentException(
        "unknown state codec: value=\"%s\" known=%s"
            .formatted(
                name,
                Arrays.stream(values()).map(StateCodec::label).collect(Collectors.joining(", "))));
  }
}
