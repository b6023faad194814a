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
 * @param innerSteps of DiLoCo between two sends of a fragment; 0: a gradient is sent every step
 */
record ComparedRun(
    String name,
    Consistency consistency,
    int staleness,
    GradientCodec gradients,
    int innerSteps,
    Stored stored) {
  static final double LEARNING_RATE = 0.003;

  /**
   * How the servers keep what is trained.
   *
   * @param rateFallsIn steps in which the learning rate falls to 0, by a cosine; 0: it stays
   */
  record Stored(Codec weights, boolean stochastic, StateCodec state, int rateFallsIn) {
    static final Stored PLAIN = new Stored(Codec.F32, false, StateCodec.F32, 0);
  }

  /** Consistencies, codecs of gradients, and DiLoCo, in the order of the table. */
  static List<ComparedRun> ofGradients(double topFraction, int innerSteps) {
    return List.of(
        bsp("bsp", GradientCodec.F32, Stored.PLAIN),
        plain("ssp", Consistency.SSP, 4, GradientCodec.F32, 0),
        plain("asp", Consistency.ASP, 0, GradientCodec.F32, 0),
        bsp("bf16", GradientCodec.of(Codec.BF16), Stored.PLAIN),
        bsp("q8_linear", GradientCodec.of(Codec.Q8_LINEAR), Stored.PLAIN),
        bsp("q4_0", GradientCodec.of(Codec.Q4_0).withErrorFeedback(), Stored.PLAIN),
        bsp("topk", GradientCodec.topK(topFraction), Stored.PLAIN),
        bsp("sign1", GradientCodec.of(Codec.SIGN1).withErrorFeedback(), Stored.PLAIN),
        plain(
            "diloco",
            Consistency.BSP,
            0,
            GradientCodec.of(Codec.Q4_0).withErrorFeedback(),
            innerSteps));
  }

  /** Every codec of weights under both roundings, and of Adam's state, in the table's order. */
  static List<ComparedRun> ofWeights(int steps) {
    List<ComparedRun> runs = new ArrayList<>();
    runs.add(weights("f32", Codec.F32, false, StateCodec.F32, steps));
    for (Codec codec : Codec.values()) {
      if (codec.stochastic()) {
        runs.add(weights(codec.label(), codec, false, StateCodec.F32, steps));
        runs.add(weights(codec.label() + "-stochastic", codec, true, StateCodec.F32, steps));
      }
    }
    runs.add(weights("f32-state-float8", Codec.F32, false, StateCodec.FLOAT8, steps));
    runs.add(weights("bf16-stochastic-state-float8", Codec.BF16, true, StateCodec.FLOAT8, steps));
    return runs;
  }

  private static ComparedRun weights(
      String name, Codec weights, boolean stochastic, StateCodec state, int steps) {
    return bsp(name, GradientCodec.F32, new Stored(weights, stochastic, state, steps));
  }

  private static ComparedRun bsp(String name, GradientCodec gradients, Stored stored) {
    return new ComparedRun(name, Consistency.BSP, 0, gradients, 0, stored);
  }

  private static ComparedRun plain(
      String name,
      Consistency consistency,
      int staleness,
      GradientCodec gradients,
      int innerSteps) {
    return new ComparedRun(name, consistency, staleness, gradients, innerSteps, Stored.PLAIN);
  }

  /** All of the model but its name and its tensors. */
  ModelSpec.Builder spec() {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setConsistency(consistency)
            .setStaleness(staleness)
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
        .putHyper("lr", LEARNING_RATE)
        .setStateCodecValue(stored.state().id())
        .setRounding(
            stored.stochastic() ? Rounding.ROUNDING_STOCHASTIC : Rounding.ROUNDING_NEAREST);
    if (stored.rateFallsIn() > 0) {
      optimizer.getScheduleBuilder().setKind("cosine").putHyper("period", stored.rateFallsIn());
    }
    return spec;
  }
}
