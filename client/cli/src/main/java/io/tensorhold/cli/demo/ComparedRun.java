package io.tensorhold.cli.demo;

import io.tensorhold.client.GradientCodec;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import java.util.List;

/**
 * A way to train the demo's job.
 *
 * @param staleness of SSP
 * @param fall steps of the optimizer over which the rate falls, along half a cosine; 0: it stays.
 *     Where workers step by themselves it begins at the worker's share, unless staleness lowers it
 * @param stalenessAware the rate is divided by 1 + the staleness of a gradient
 * @param innerSteps of DiLoCo between two sends of a fragment; 0: a gradient is sent every step
 */
record ComparedRun(
    String name,
    Consistency consistency,
    int staleness,
    int fall,
    boolean stalenessAware,
    GradientCodec gradients,
    int innerSteps) {
  static final double LEARNING_RATE = 0.003;

  /** What is left of the rate in the end. */
  private static final double FLOOR = 0.01;

  /** All of them, in the order of the table. */
  static List<ComparedRun> all(double topFraction, int innerSteps, int steps) {
    int all = steps * DemoTraining.WORKERS;
    return List.of(
        bsp("bsp", GradientCodec.F32),
        new ComparedRun("ssp", Consistency.SSP, 4, all, false, GradientCodec.F32, 0),
        new ComparedRun("asp", Consistency.ASP, 0, all, false, GradientCodec.F32, 0),
        new ComparedRun("asp_aware", Consistency.ASP, 0, all, true, GradientCodec.F32, 0),
        bsp("bf16", GradientCodec.of(Codec.BF16)),
        bsp("q8_linear", GradientCodec.of(Codec.Q8_LINEAR)),
        bsp("q4_0", GradientCodec.of(Codec.Q4_0).withErrorFeedback()),
        bsp("topk", GradientCodec.topK(topFraction)),
        bsp("sign1", GradientCodec.of(Codec.SIGN1).withErrorFeedback()),
        new ComparedRun(
            "diloco",
            Consistency.BSP,
            0,
            0,
            false,
            GradientCodec.of(Codec.Q4_0).withErrorFeedback(),
            innerSteps));
  }

  private static ComparedRun bsp(String name, GradientCodec gradients) {
    return new ComparedRun(name, Consistency.BSP, 0, 0, false, gradients, 0);
  }

  /** All of the model but its name and its tensors. */
  ModelSpec.Builder spec() {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setConsistency(consistency)
            .setStaleness(staleness)
            .setStalenessAwareRate(stalenessAware)
            .setWorkers(DemoTraining.WORKERS);
    if (innerSteps == 0) {
      boolean shared = fall > 0 && !stalenessAware;
      spec.getOptimizerBuilder()
          .setKind("adam")
          .putHyper("lr", shared ? LEARNING_RATE / DemoTraining.WORKERS : LEARNING_RATE);
      if (fall > 0) {
        spec.getOptimizerBuilder()
            .getScheduleBuilder()
            .setKind("cosine")
            .putHyper("period", fall)
            .putHyper("floor", FLOOR);
      }
    } else {
      spec.getOptimizerBuilder()
          .setKind("sgd")
          .putHyper("lr", 0.7)
          .putHyper("momentum", 0.9)
          .putHyper("nesterov", 1);
    }
    return spec;
  }
}
