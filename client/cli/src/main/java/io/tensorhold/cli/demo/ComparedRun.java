package io.tensorhold.cli.demo;

import io.tensorhold.client.GradientCodec;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.Rounding;
import java.util.ArrayList;
import java.util.List;

/**
 * A way to train the demo's job.
 *
 * @param staleness of SSP
 * @param innerSteps of DiLoCo between two sends of a fragment; 0: a gradient is sent every step
 */
record ComparedRun(
    String name,
    Consistency consistency,
    int staleness,
    Rate rate,
    GradientCodec gradients,
    int innerSteps,
    Stored stored) {
  static final double LEARNING_RATE = 0.003;

  /**
   * The learning rate.
   *
   * @param start where it begins; where workers step by themselves it is the worker's share, unless
   *     staleness lowers it
   * @param fall steps of the optimizer over which it falls, along half a cosine; 0: it stays
   * @param floor what is left of it in the end, as a share
   * @param stalenessAware it is divided by 1 + the staleness of a gradient
   */
  record Rate(double start, int fall, double floor, boolean stalenessAware) {
    static final Rate STAYS = new Rate(LEARNING_RATE, 0, 0, false);
  }

  /** How the servers keep what is trained. */
  record Stored(Codec weights, boolean stochastic, StateCodec state) {
    static final Stored PLAIN = new Stored(Codec.F32, false, StateCodec.F32);
  }

  /** Consistencies, codecs of gradients, and DiLoCo, in the order of the table. */
  static List<ComparedRun> ofGradients(double topFraction, int innerSteps, int steps) {
    int all = steps * DemoTraining.WORKERS;
    Rate shared = new Rate(LEARNING_RATE / DemoTraining.WORKERS, all, 0.01, false);
    Rate aware = new Rate(LEARNING_RATE, all, 0.01, true);
    return List.of(
        bsp("bsp", GradientCodec.F32),
        alone("ssp", Consistency.SSP, 4, shared),
        alone("asp", Consistency.ASP, 0, shared),
        alone("asp_aware", Consistency.ASP, 0, aware),
        bsp("bf16", GradientCodec.of(Codec.BF16)),
        bsp("q8_linear", GradientCodec.of(Codec.Q8_LINEAR)),
        bsp("q4_0", GradientCodec.of(Codec.Q4_0).withErrorFeedback()),
        bsp("topk", GradientCodec.topK(topFraction)),
        bsp("sign1", GradientCodec.of(Codec.SIGN1).withErrorFeedback()),
        new ComparedRun(
            "diloco",
            Consistency.BSP,
            0,
            Rate.STAYS,
            GradientCodec.of(Codec.Q4_0).withErrorFeedback(),
            innerSteps,
            Stored.PLAIN));
  }

  /** Every codec of weights under both roundings, and of Adam's state, in the table's order. */
  static List<ComparedRun> ofWeights(int steps) {
    List<ComparedRun> runs = new ArrayList<>();
    runs.add(weights("f32", Stored.PLAIN, steps));
    for (Codec codec : Codec.values()) {
      if (codec.stochastic()) {
        String name = codec.label();
        runs.add(weights(name, new Stored(codec, false, StateCodec.F32), steps));
        runs.add(weights(name + "-stochastic", new Stored(codec, true, StateCodec.F32), steps));
      }
    }
    runs.add(weights("f32-state-float8", new Stored(Codec.F32, false, StateCodec.FLOAT8), steps));
    runs.add(
        weights(
            "bf16-stochastic-state-float8",
            new Stored(Codec.BF16, true, StateCodec.FLOAT8),
            steps));
    return runs;
  }

  private static ComparedRun weights(String name, Stored stored, int steps) {
    Rate falls = new Rate(LEARNING_RATE, steps, 0, false);
    return new ComparedRun(name, Consistency.BSP, 0, falls, GradientCodec.F32, 0, stored);
  }

  private static ComparedRun bsp(String name, GradientCodec gradients) {
    return new ComparedRun(name, Consistency.BSP, 0, Rate.STAYS, gradients, 0, Stored.PLAIN);
  }

  private static ComparedRun alone(String name, Consistency consistency, int staleness, Rate rate) {
    return new ComparedRun(name, consistency, staleness, rate, GradientCodec.F32, 0, Stored.PLAIN);
  }

  /** All of the model but its name and its tensors. */
  ModelSpec.Builder spec() {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setConsistency(consistency)
            .setStaleness(staleness)
            .setStalenessAwareRate(rate.stalenessAware())
            .setWorkers(DemoTraining.WORKERS);
    OptimizerSpec.Builder optimizer = spec.getOptimizerBuilder();
    if (innerSteps > 0) {
      optimizer
          .setKind("sgd")
          .putHyper("lr", 0.7)
          .putHyper("momentum", 0.9)
          .putHyper("nesterov", 1);
      return spec;
    }
    optimizer
        .setKind("adam")
        .putHyper("lr", rate.start())
        .setStateCodecValue(stored.state().id())
        .setRounding(
            stored.stochastic() ? Rounding.ROUNDING_STOCHASTIC : Rounding.ROUNDING_NEAREST);
    if (rate.fall() > 0) {
      optimizer
          .getScheduleBuilder()
          .setKind("cosine")
          .putHyper("period", rate.fall())
          .putHyper("floor", rate.floor());
    }
    return spec;
  }
}
