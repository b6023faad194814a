package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.server.base.HeldMemory;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One push as the log carries it: to be applied whole, once, or not at all.
 *
 * @param tags whose push this is; several when the gradients of several ranks were averaged into it
 * @param payload the bytes of all parts, one after another
 * @param factors what took sums over blocks to know; null if nobody summed
 * @param received the block that an ASSIGN of one whole block makes, when its payload was received
 *     in place: {@code payload} is its weights. It may be adopted instead of copied
 * @param memory whose content {@code payload} is, so that it can be kept beyond a call by holding
 *     it; null: the payload is its owner's alone
 */
public record PushCommand(
    List<Tag> tags,
    Operation operation,
    List<Part> parts,
    MemorySegment payload,
    @Nullable Factors factors,
    @Nullable Unit received,
    @Nullable HeldMemory memory) {

  /** A push without factors, whose payload is its owner's. */
  public PushCommand(List<Tag> tags, Operation operation, List<Part> parts, MemorySegment payload) {
    this(tags, operation, parts, payload, null, null, null);
  }

  /** A push without factors, whose payload is the content of memory. */
  public PushCommand(List<Tag> tags, Operation operation, List<Part> parts, HeldMemory memory) {
    this(tags, operation, parts, memory.content(), null, null, memory);
  }

  /** The same push with factors. */
  public PushCommand with(Factors known) {
    return new PushCommand(tags, operation, parts, payload, known, received, memory);
  }

  /** Holds the payload's memory, which it must have, once more. */
  public void hold() {
    Objects.requireNonNull(memory).hold();
  }

  /** Lets go of the payload's memory, which it must have. */
  public void release() {
    Objects.requireNonNull(memory).release();
  }

  /** Whether a part says which values it was computed at. */
  boolean saysSteps() {
    return parts.stream().anyMatch(part -> part.computedAt != Part.NOT_SAID);
  }

  /** What the gradients of all parts are multiplied by. */
  float gradientScale() {
    return factors == null ? 1 : factors.gradientScale;
  }

  /** The trust ratio of a part's parameter. */
  float trust(int part) {
    return factors == null ? 1 : factors.trust[part];
  }

  /**
   * What apply can't compute, because it reads no block but the one it updates.
   *
   * @param gradientScale clips the global norm, after clipping by value; 1: nothing to clip
   * @param trust LAMB's ratio for the parameter of each part; 1 for other optimizers
   */
  @SuppressWarnings("ArrayRecordComponent") // read in a loop, and never changed
  public record Factors(float gradientScale, float[] trust) {}

  /** What a push does; ids are in the log: do not change them. */
  public enum Operation {
    /** Elements become the payload. */
    ASSIGN(1),
    /** Elements grow by the payload. */
    ADD(2),
    /** The payload is a gradient for the parameter's optimizer. */
    GRADIENT(3),
    /** Rows alone: weights, optimizer state and steps become the payload. */
    RESTORE(4);

    final int id;

    Operation(int id) {
      this.id = id;
    }

    static Operation ofId(int id) {
      for (Operation operation : values()) {
        if (operation.id == id) {
          return operation;
        }
      }
      throw new IllegalArgumentException("operation in the log: value=%d known=1..4".formatted(id));
    }
  }

  /** A session's push: its number there, and the number below which all were acknowledged. */
  public record Tag(long session, long seq, long ackedBelow) {}

  /**
   * A block's part of a push.
   *
   * @param codec encoding of the payload
   * @param runs elements that the payload holds, as alternating gap and length; empty: the whole
   *     block
   * @param computedAt step of the block at whose values the gradient was computed, where the rate
   *     depends on it; {@link #NOT_SAID}: it does not
   */
  @SuppressWarnings("ArrayRecordComponent") // runs are read in a loop, and never changed
  public record Part(
      long parameter, int block, Codec codec, int payloadBytes, int[] runs, long computedAt) {
    /** No step: the gradient counts as fresh. */
    public static final long NOT_SAID = -1;

    /** A part whose rate does not depend on when it was computed. */
    public Part(long parameter, int block, Codec codec, int payloadBytes, int[] runs) {
      this(parameter, block, codec, payloadBytes, runs, NOT_SAID);
    }

    /** The same, computed at the values of a step of the block. */
    public Part at(long step) {
      return new Part(parameter, block, codec, payloadBytes, runs, step);
    }

    /** Steps of a block at the step given that this part's gradient has not seen. */
    long staleness(long step) {
      return computedAt == NOT_SAID ? 0 : Math.max(0, step - computedAt);
    }

    /** Elements of the payload of a block of so many elements. */
    public long elements(int blockElements) {
      if (runs.length == 0) {
        return blockElements;
      }
      long sum = 0;
      for (int i = 1; i < runs.length; i += 2) {
        sum += runs[i];
      }
      return sum;
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Part part
          && parameter == part.parameter
          && block == part.block
          && codec == part.codec
          && payloadBytes == part.payloadBytes
          && java.util.Arrays.equals(runs, part.runs)
          && computedAt == part.computedAt;
    }

    @Override
    public int hashCode() {
      return Long.hashCode(parameter) * 31 + block;
    }
  }
}
