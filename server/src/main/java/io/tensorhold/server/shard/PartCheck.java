package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.TopK;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Whether a block's part of a push fits its parameter.
 *
 * <p>The leader asks before it writes to the log, so that bad input gets its answer and changes
 * nothing; apply asks again, because the log is to be believed by no one.
 */
public final class PartCheck {
  private PartCheck() {}

  /**
   * Checks a part.
   *
   * @throws Refusal saying what does not fit, the value seen and the value allowed
   */
  public static void check(String name, ParameterRecord parameter, Operation op, Part part) {
    int blocks = parameter.blocks();
    if (part.block() < 0 || part.block() >= blocks) {
      throw new Refusal(
          Reason.BLOCK_OUT_OF_RANGE,
          "%s has %d blocks: block=%d"
              .formatted(name, blocks, Integer.toUnsignedLong(part.block())),
          "parameter",
          name,
          "value",
          part.block(),
          "limit",
          blocks);
    }
    checkCodec(name, parameter, op, part);
    int elements = parameter.elementsIn(part.block());
    checkRuns(name, parameter, part, elements);
    if (op == Operation.GRADIENT && part.runs().length > 0) {
      checkWhole(name, parameter.rule().optimizer(), part, elements);
    }
    long count = part.elements(elements);
    if (!part.codec().fits(parameter.dtype(), count, part.payloadBytes())) {
      long expected = part.codec().bytes(parameter.dtype(), count);
      throw new Refusal(
          Reason.PAYLOAD_LENGTH,
          "block %d of %s takes %s%d bytes of %s: value=%d"
              .formatted(
                  part.block(),
                  name,
                  part.codec().fixedSize() ? "" : "4, 8, 12, … up to ",
                  expected,
                  part.codec().label(),
                  part.payloadBytes()),
          "parameter",
          name,
          "value",
          part.payloadBytes(),
          "expected",
          expected);
    }
  }

  /**
   * Checks what a payload says of itself, under a codec whose size does not follow from its
   * elements.
   *
   * @param payload of the part alone
   * @throws Refusal REQUEST_INVALID with the value seen and those allowed
   */
  public static void checkPayload(
      String name, ParameterRecord parameter, Part part, MemorySegment payload) {
    if (part.codec().fixedSize()) {
      return;
    }
    String fault = TopK.fault(payload, parameter.elementsIn(part.block()));
    if (fault != null) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "block %d of %s: %s".formatted(part.block(), name, fault),
          "parameter",
          name);
    }
  }

  private static void checkCodec(String name, ParameterRecord parameter, Operation op, Part part) {
    if (part.codec().computable() != parameter.codec().computable()) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "%s is stored as %s and takes no %s payload"
              .formatted(name, parameter.codec().label(), part.codec().label()),
          "parameter",
          name,
          "value",
          part.codec().label());
    }
    if (op == Operation.RESTORE) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "RESTORE is for rows of tables: %s is a tensor, use ASSIGN".formatted(name),
          "parameter",
          name);
    }
    if (part.codec() == Codec.RAW && op != Operation.ASSIGN) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "%s holds %s, which is stored but not computed with: use ASSIGN instead of %s"
              .formatted(name, parameter.dtype(), op),
          "parameter",
          name,
          "value",
          op);
    }
    if (op == Operation.GRADIENT && !parameter.trained()) {
      throw new Refusal(
          Reason.OPTIMIZER_INVALID,
          "%s has no optimizer: create its model with one, or use ADD".formatted(name),
          "parameter",
          name);
    }
  }

  private static void checkRuns(String name, ParameterRecord parameter, Part part, int elements) {
    int[] runs = part.runs();
    if (runs.length == 0) {
      return;
    }
    if (part.codec().group() > 1) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "a part of block %d of %s can't be sent as %s: send f32, f16 or bf16"
              .formatted(part.block(), name, part.codec().label()),
          "parameter",
          name,
          "value",
          part.codec().label());
    }
    if (!part.codec().sliceable(parameter.dtype())) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "elements of %s have %d bits: send whole blocks"
              .formatted(name, parameter.dtype().bits()),
          "parameter",
          name);
    }
    if (runs.length % 2 != 0 || runs.length > 2 * Limits.BLOCK_RUNS) {
      throw new Refusal(
          Reason.LIMIT,
          "runs of block %d of %s come as pairs of gap and length: value=%d limit=%d"
              .formatted(part.block(), name, runs.length, 2 * Limits.BLOCK_RUNS),
          "parameter",
          name,
          "value",
          runs.length,
          "limit",
          2 * Limits.BLOCK_RUNS);
    }
    long end = 0;
    for (int i = 0; i < runs.length; i += 2) {
      long gap = Integer.toUnsignedLong(runs[i]);
      long length = Integer.toUnsignedLong(runs[i + 1]);
      end += gap + length;
      if (length == 0 || end > elements) {
        throw new Refusal(
            Reason.BLOCK_OUT_OF_RANGE,
            "run %d of block %d of %s ends at element %d, has length %d; the block has %d elements"
                .formatted(i / 2, part.block(), name, end, length, elements),
            "parameter",
            name,
            "value",
            end,
            "limit",
            elements);
      }
    }
  }

  /** Some optimizers look at more than one element: of a row, or of the whole parameter. */
  private static void checkWhole(String name, Optimizer optimizer, Part part, int elements) {
    if (optimizer.needsTrust()) {
      throw new Refusal(
          Reason.OPTIMIZER_INVALID,
          "%s of %s takes the norm of whole blocks: send block %d whole, zeros where nothing changed"
              .formatted(optimizer.kind(), name, part.block()),
          "parameter",
          name);
    }
    int row = optimizer.row();
    int at = 0;
    for (int i = 0; i < part.runs().length; i += 2) {
      int first = at + part.runs()[i];
      at = first + part.runs()[i + 1];
      if (first % row != 0 || (at % row != 0 && at != elements)) {
        throw new Refusal(
            Reason.OPTIMIZER_INVALID,
            "%s of %s takes whole rows of %d elements: run %d of block %d is %d to %d"
                .formatted(optimizer.kind(), name, row, i / 2, part.block(), first, at),
            "parameter",
            name,
            "value",
            first,
            "expected",
            row);
      }
    }
  }

  /**
   * Checks that a push carries what takes sums over blocks, and that it can be.
   *
   * @throws Refusal OPTIMIZER_INVALID saying what is missing
   */
  public static void checkFactors(
      String name,
      ParameterRecord parameter,
      Operation operation,
      PushCommand.@Nullable Factors factors,
      int part) {
    if (operation != Operation.GRADIENT) {
      return;
    }
    if (factors == null) {
      double clipNorm = parameter.rule().clipNorm();
      if (clipNorm > 0) {
        throw missing(name, "clip_norm=" + clipNorm, "the scale that clips the gradient's norm");
      }
      if (parameter.rule().optimizer().needsTrust()) {
        throw missing(name, parameter.rule().optimizer().kind(), "the parameter's trust ratio");
      }
      return;
    }
    float scale = factors.gradientScale();
    float trust = factors.trust()[part];
    if (!(scale > 0 && scale <= 1) || !(trust >= 0 && trust < Float.POSITIVE_INFINITY)) {
      throw new Refusal(
          Reason.OPTIMIZER_INVALID,
          "factors for %s: gradient scale value=%s allowed=above 0, to 1; trust ratio value=%s allowed=finite, not negative"
              .formatted(name, scale, trust),
          "parameter",
          name);
    }
  }

  private static Refusal missing(String name, String why, String what) {
    return new Refusal(
        Reason.OPTIMIZER_INVALID,
        "%s of %s needs a sum over all blocks of the step: the push carries no factors; measure the step, then send it with %s"
            .formatted(why, name, what),
        "parameter",
        name,
        "expected",
        what);
  }
}
