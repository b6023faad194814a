package io.tensorhold.cli.demo;

import io.tensorhold.client.GradientCodec;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import java.util.List;

/**
 * A way to train the demo's job.
 *
 * @param innerSteps of DiLoCo between two sends of a fragment; 0: a gradient is sent every step
 */
record ComparedRun(
    String name, Consistency consistency, int staleness, GradientCodec gradients, int innerSteps) {
  static final double LEARNING_RATE = 0.003;

  /** All of them, in the order of the table. */
  static List<ComparedRun> all(double topFraction, int innerSteps) {
    return List.of(
        bsp("bsp", GradientCodec.F32),
        new ComparedRun("ssp", Consistency.SSP, 4, GradientCodec.F32, 0),
        new ComparedRun("asp", Consistency.ASP, 0, GradientCodec.F32, 0),
        bsp("bf16", GradientCodec.of(Codec.BF16)),
        bsp("q8_linear", GradientCodec.of(Codec.Q8_LINEAR)),
        bsp("q4_0", GradientCodec.of(Codec.Q4_0).withErrorFeedback()),
        bsp("topk", GradientCodec.topK(topFraction)),
        bsp("sign1", GradientCodec.of(Codec.SIGN1).withErrorFeedback()),
        new ComparedRun(
            "diloco",
            Consistency.BSP,
            0,
            GradientCodec.of(Codec.Q4_0).withErrorFeedback(),
            innerSteps));
  }

  private static ComparedRun bsp(String name, GradientCodec gradients) {
    return new ComparedRun(name, Consistency.BSP, 0, gradients, 0);
  }

  /** All of the model but its name and its tensors. */
  ModelSpec.Builder spec() {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setConsistency(consistency)
            .setStaleness(staleness)
            .setWorkers(DemoTraining.WORKERS);
    if (innerSteps == 0) {
      spec.getOptimizerBuilder().setKind("adam").putHyper("lr", LEARNING_RATE);
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
