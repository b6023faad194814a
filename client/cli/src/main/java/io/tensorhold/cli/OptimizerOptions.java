package io.tensorhold.cli;

import io.tensorhold.numerics.StateCodec;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.Rounding;
import java.util.LinkedHashMap;
import java.util.Map;
import picocli.CommandLine.Option;

/** The options that say how a model is trained; the server checks them. */
final class OptimizerOptions {
  @Option(
      names = "--optimizer",
      description =
          "The model takes gradients, with sgd, adam, adamw, adagrad, adagrad_row, rmsprop, adadelta,"
              + " ftrl, lion, lamb or average.")
  private String kind = "";

  @Option(
      names = "--hyper",
      paramLabel = "NAME=VALUE",
      description = "Hyper-parameter of the optimizer, such as lr=0.001; PyTorch's defaults.")
  private Map<String, Double> hyper = new LinkedHashMap<>();

  @Option(
      names = "--schedule",
      description = "Of the learning rate: constant (default), step, cosine or inverse_sqrt.")
  private String schedule = "";

  @Option(
      names = "--schedule-hyper",
      paramLabel = "NAME=VALUE",
      description = "Number of the schedule, such as warmup=1000 or period=100000.")
  private Map<String, Double> scheduleHyper = new LinkedHashMap<>();

  @Option(names = "--clip-value", description = "Largest magnitude of a gradient's element.")
  private double clipValue;

  @Option(names = "--clip-norm", description = "Largest norm of the whole gradient.")
  private double clipNorm;

  @Option(names = "--state-codec", description = "Of the optimizer's state: f32 or float8.")
  private String stateCodec = "f32";

  @Option(
      names = "--stochastic-rounding",
      description = "Round weights to their codec up or down at random, right in the mean.")
  private boolean stochastic;

  /** What the options say; only what was asked for is set. */
  OptimizerSpec spec() {
    OptimizerSpec.Builder spec = OptimizerSpec.newBuilder().setKind(kind).putAllHyper(hyper);
    if (!schedule.isEmpty() || !scheduleHyper.isEmpty()) {
      spec.getScheduleBuilder().setKind(schedule).putAllHyper(scheduleHyper);
    }
    if (clipValue != 0) {
      spec.setClipValue(clipValue);
    }
    if (clipNorm != 0) {
      spec.setClipNorm(clipNorm);
    }
    StateCodec codec = StateCodec.ofName(stateCodec);
    if (codec != StateCodec.F32) {
      spec.setStateCodec(io.tensorhold.proto.v1.StateCodec.forNumber(codec.id()));
    }
    if (stochastic) {
      spec.setRounding(Rounding.ROUNDING_STOCHASTIC);
    }
    return spec.build();
  }
}
