package io.tensorhold.server.rpc;

import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.StepSums;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.StepFactors;
import org.jspecify.annotations.Nullable;

/**
 * The factors of steps as they are on the wire: checked on their way in, written on the way out.
 */
final class FactorsCheck {
  private FactorsCheck() {}

  /** Whether a push waits for those of other ranks, and so may bring its factors later. */
  static boolean together(ModelView view, Operation operation) {
    return operation == Operation.GRADIENT
        && view.model().getSpec().getConsistency() == Consistency.BSP;
  }

  /**
   * What a push brings; null: nothing.
   *
   * @throws Refusal if it can't bring that
   */
  static @Nullable StepFactors factors(ModelView view, PushHeader header) {
    boolean together = view.model().getSpec().getConsistency() == Consistency.BSP;
    if (header.getWithoutPayload()
        && (!header.hasFactors()
            || !together
            || !header.getBlocksList().stream().allMatch(BlockHeader::getHasCrc))) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "without_payload is for pushes of BSP that bring factors; their blocks have a crc32c");
    }
    if (!header.hasFactors()) {
      return null;
    }
    if (!view.needs().any()
        || header.getOperation() != io.tensorhold.proto.v1.Operation.GRADIENT
        || (together && header.getStep() == 0)) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "factors are for gradients of a model with clip_norm or lamb: model \"%s\", operation %s"
              .formatted(view.model().getSpec().getName(), header.getOperation()));
    }
    float scale = header.getFactors().getGradientScale();
    int ratios = header.getFactors().getTrustCount();
    int expected =
        together && view.needs().trust() ? view.model().getSpec().getParametersCount() : 0;
    if (ratios != 0 && ratios != expected) {
      throw invalid("trust ratios", ratios, "0 or " + expected, expected);
    }
    if (!(scale > 0 && scale <= 1)) {
      throw invalid("gradient_scale", scale, "above 0, to 1", 1);
    }
    float[] trust = new float[ratios];
    for (int i = 0; i < ratios; i++) {
      trust[i] = header.getFactors().getTrust(i);
      if (!(trust[i] >= 0 && trust[i] < Float.POSITIVE_INFINITY)) {
        throw invalid("trust ratio " + i, trust[i], "finite, not negative", 0);
      }
    }
    return new StepFactors(scale, trust);
  }

  /**
   * The step of a block at whose values a gradient was computed, where its rate depends on it.
   *
   * @throws Refusal if the push does not say it
   */
  static long computedAt(ModelView view, Operation operation, BlockHeader block) {
    if (operation != Operation.GRADIENT || !view.model().getSpec().getStalenessAwareRate()) {
      return Part.NOT_SAID;
    }
    if (!block.hasStep() || block.getStep() < 0) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "the rate of block %d of %s falls with staleness: a gradient says the step of the values it was computed at, as their pull did; value=%s"
              .formatted(
                  block.getBlock(),
                  view.name(block.getParameterId()),
                  block.hasStep() ? Long.toUnsignedString(block.getStep()) : "none"));
    }
    return block.getStep();
  }

  private static Refusal invalid(String what, Object value, String allowed, Object limit) {
    return new Refusal(
        Reason.OPTIMIZER_INVALID,
        "factors of a step: %s value=%s allowed=%s".formatted(what, value, allowed),
        "value",
        value,
        "limit",
        limit);
  }

  static io.tensorhold.proto.v1.StepFactors toWire(StepFactors factors) {
    var wire =
        io.tensorhold.proto.v1.StepFactors.newBuilder().setGradientScale(factors.gradientScale());
    for (float ratio : factors.trust()) {
      wire.addTrust(ratio);
    }
    return wire.build();
  }

  static StepSums toWire(ModelView view, io.tensorhold.server.training.StepSums sums) {
    StepSums.Builder wire = StepSums.newBuilder().setGradientScale(sums.gradientScale());
    sums.blocks()
        .forEach(
            block -> {
              wire.addGradient(block.gradient());
              if (view.needs().trust()) {
                wire.addWeights(block.weights()).addDirections(block.direction());
              }
            });
    return wire.build();
  }
}
