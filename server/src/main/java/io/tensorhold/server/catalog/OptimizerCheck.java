package io.tensorhold.server.catalog;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** Checks the optimizers of a model and its parameters, and fills in what they leave open. */
public final class OptimizerCheck {
  private static final String NONE = "none";

  private OptimizerCheck() {}

  /**
   * The rule of a specification, complete or not; null if there is no optimizer.
   *
   * @throws Refusal OPTIMIZER_INVALID naming what is wrong, the value seen and the value allowed
   */
  public static @Nullable UpdateRule rule(OptimizerSpec spec) {
    if (spec.getKind().isEmpty() || spec.getKind().equals(NONE)) {
      if (spec.getHyperCount() > 0) {
        throw refusal(
            "hyper-parameters without an optimizer: value=%s; name its kind: %s"
                .formatted(spec.getHyperMap().keySet(), Optimizer.KINDS));
      }
      return null;
    }
    try {
      return new UpdateRule(
          Optimizer.of(spec.getKind(), spec.getHyperMap()),
          Schedule.of(spec.getSchedule().getKind(), spec.getSchedule().getHyperMap()),
          spec.getClipValue(),
          spec.getClipNorm(),
          spec.getStateCodecValue() == 0
              ? StateCodec.F32
              : StateCodec.ofId(spec.getStateCodecValue()),
          Rounding.ofId(spec.getRoundingValue()));
    } catch (IllegalArgumentException e) {
      throw refusal(String.valueOf(e.getMessage()));
    }
  }

  /** The complete form of a model's optimizer: all numbers are there. */
  static OptimizerSpec complete(OptimizerSpec spec) {
    UpdateRule rule = rule(spec);
    if (rule == null) {
      return spec;
    }
    OptimizerSpec.Builder complete = spec.toBuilder();
    complete.putAllHyper(rule.optimizer().hyper()).setStateCodecValue(rule.stateCodec().id());
    if (spec.hasSchedule()) {
      complete
          .getScheduleBuilder()
          .setKind(rule.schedule().kind())
          .putAllHyper(rule.schedule().hyper());
    }
    return complete.build();
  }

  /** Completes what a parameter says of its own, and checks that its rule fits its blocks. */
  static void completeParameter(
      ParameterSpec.Builder parameter, OptimizerSpec shared, boolean stalenessAwareRate) {
    OptimizerSpec spec = shared;
    if (parameter.hasOptimizer()) {
      if (parameter.getOptimizer().hasClipNorm()
          && parameter.getOptimizer().getClipNorm() != shared.getClipNorm()) {
        throw refusal(
            "clip_norm of %s: value=%s; the norm is of all parameters together: set the model's"
                .formatted(
                    ModelCheck.quote(parameter.getName()), parameter.getOptimizer().getClipNorm()));
      }
      spec = complete(merge(shared, parameter.getOptimizer()));
      parameter.setOptimizer(spec);
    }
    Codec codec = Codec.ofId(parameter.getCodecValue());
    UpdateRule rule = codec.computable() ? rule(spec) : null;
    if (rule != null
        && rule.rounding() == Rounding.STOCHASTIC
        && codec != Codec.F32
        && !codec.stochastic()) {
      throw refusal(
          "%s is stored as %s, which is not rounded stochastically: allowed=%s"
              .formatted(
                  ModelCheck.quote(parameter.getName()),
                  codec.label(),
                  Arrays.stream(Codec.values())
                      .filter(Codec::stochastic)
                      .map(Codec::label)
                      .collect(Collectors.joining(", "))));
    }
    if (rule != null && stalenessAwareRate && !rule.optimizer().hasRate()) {
      throw refusal(
          "the rate of %s for %s falls by itself, element by element: staleness_aware_rate value=true allowed=false"
              .formatted(rule.optimizer().kind(), ModelCheck.quote(parameter.getName())));
    }
    if (rule != null && parameter.getBlockElements() % rule.optimizer().row() != 0) {
      throw refusal(
          "row of %s for %s does not divide its blocks: value=%d allowed=divisors of %d"
              .formatted(
                  rule.optimizer().kind(),
                  ModelCheck.quote(parameter.getName()),
                  rule.optimizer().row(),
                  parameter.getBlockElements()));
    }
  }

  private static OptimizerSpec merge(OptimizerSpec shared, OptimizerSpec own) {
    if (own.getKind().equals(NONE)) {
      return own;
    }
    boolean sameKind = own.getKind().isEmpty() || own.getKind().equals(shared.getKind());
    OptimizerSpec.Builder merged = shared.toBuilder();
    if (!sameKind) {
      merged.setKind(own.getKind()).clearHyper();
    }
    merged.putAllHyper(own.getHyperMap());
    if (own.hasSchedule()) {
      merged.setSchedule(own.getSchedule());
    }
    if (own.hasClipValue()) {
      merged.setClipValue(own.getClipValue());
    }
    if (own.getStateCodecValue() != 0) {
      merged.setStateCodecValue(own.getStateCodecValue());
    }
    if (own.hasRounding()) {
      merged.setRoundingValue(own.getRoundingValue());
    }
    return merged.build();
  }

  private static Refusal refusal(String message) {
    return new Refusal(Reason.OPTIMIZER_INVALID, message);
  }
}
