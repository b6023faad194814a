package io.tensorhold.server.catalog;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.proto.v1.Codec;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.Rounding;
import io.tensorhold.proto.v1.StateCodec;
import io.tensorhold.server.base.Refusal;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

class OptimizerCheckTest {
  private static ModelSpec.Builder model() {
    ModelSpec.Builder model = ModelSpec.newBuilder().setName("m");
    model.addParametersBuilder().setName("w").setDtype(DType.F32).addDims(600);
    model.addParametersBuilder().setName("bias").setDtype(DType.F32).addDims(600);
    model.getOptimizerBuilder().setKind("adamw").putHyper("lr", 0.01);
    return model;
  }

  private static OptimizerSpec.Builder own(ModelSpec.Builder model) {
    return model.getParametersBuilder(1).getOptimizerBuilder();
  }

  @Test
  void aParameterTakesWhatItDoesNotSayFromTheModel() {
    ModelSpec.Builder model = model();
    model.getOptimizerBuilder().setClipValue(2).getScheduleBuilder().setKind("inverse_sqrt");
    own(model).putHyper("weight_decay", 0);
    UpdateRule rule =
        OptimizerCheck.rule(ModelCheck.complete(model.build()).getParameters(1).getOptimizer());
    assertThat(rule.optimizer().kind()).isEqualTo("adamw");
    assertThat(rule.optimizer().hyper())
        .containsEntry("lr", 0.01)
        .containsEntry("weight_decay", 0.0);
    assertThat(rule.schedule().kind()).isEqualTo("inverse_sqrt");
    assertThat(rule.clipValue()).isEqualTo(2);
  }

  @Test
  void aParameterMayHaveAnotherKindOrNone() {
    ModelSpec.Builder model = model();
    own(model).setKind("sgd").putHyper("momentum", 0.9);
    OptimizerSpec sgd = ModelCheck.complete(model.build()).getParameters(1).getOptimizer();
    assertThat(sgd.getHyperMap()).containsEntry("lr", 1e-3).doesNotContainKey("beta1");
    model.getParametersBuilder(1).setOptimizer(OptimizerSpec.newBuilder().setKind("none"));
    OptimizerSpec none = ModelCheck.complete(model.build()).getParameters(1).getOptimizer();
    assertThat(OptimizerCheck.rule(none)).isNull();
  }

  @Test
  void aCompleteSpecificationIsItsOwnCompletion() {
    ModelSpec.Builder model = model();
    model
        .getOptimizerBuilder()
        .setClipNorm(1)
        .getScheduleBuilder()
        .setKind("cosine")
        .putHyper("period", 9);
    own(model).putHyper("lr", 0.5);
    ModelSpec complete = ModelCheck.complete(model.build());
    assertThat(complete.getOptimizer().getStateCodec()).isEqualTo(StateCodec.STATE_F32);
    assertThat(complete.getOptimizer().getSchedule().getHyperMap()).containsEntry("floor", 0.0);
    assertThat(ModelCheck.complete(complete).getOptimizer()).isEqualTo(complete.getOptimizer());
  }

  private static void refuses(String message, Consumer<ModelSpec.Builder> change) {
    ModelSpec.Builder model = model();
    change.accept(model);
    assertThatThrownBy(() -> ModelCheck.complete(model.build()))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining(message);
  }

  @Test
  void whatDoesNotGoTogetherIsRefused() {
    refuses(
        "lr of adamw is out of range: value=-1.0", m -> m.getOptimizerBuilder().putHyper("lr", -1));
    refuses(
        "row of adagrad_row for \"w\" does not divide its blocks: value=48",
        m -> m.getOptimizerBuilder().clearHyper().setKind("adagrad_row").putHyper("row", 48));
    refuses(
        "state of ftrl can't be kept as float8",
        m ->
            m.getOptimizerBuilder()
                .clearHyper()
                .setKind("ftrl")
                .setStateCodec(StateCodec.STATE_FLOAT8));
    refuses(
        "state of adamw can't be kept as float8, because rounding",
        m -> m.getOptimizerBuilder().putHyper("amsgrad", 1).setStateCodec(StateCodec.STATE_FLOAT8));
    refuses("unknown state codec: value=9", m -> m.getOptimizerBuilder().setStateCodecValue(9));
    refuses(
        "clip_value is out of range: value=-1.0", m -> m.getOptimizerBuilder().setClipValue(-1));
    refuses(
        "clip_norm is out of range: value=NaN",
        m -> m.getOptimizerBuilder().setClipNorm(Double.NaN));
    refuses("clip_norm of \"bias\": value=1.0", m -> own(m).setClipNorm(1));
    refuses(
        "unknown schedule: value=\"linear\"",
        m -> m.getOptimizerBuilder().getScheduleBuilder().setKind("linear"));
    refuses(
        "period of schedule cosine is out of range: value=0.0",
        m -> m.getOptimizerBuilder().getScheduleBuilder().setKind("cosine"));
    refuses(
        "unknown hyper-parameter of schedule step: value=\"period\"",
        m ->
            m.getOptimizerBuilder()
                .getScheduleBuilder()
                .setKind("step")
                .putHyper("size", 3)
                .putHyper("period", 3));
    refuses(
        "schedule value=step allowed=constant",
        m -> own(m).setKind("ftrl").getScheduleBuilder().setKind("step").putHyper("size", 3));
    refuses("unknown optimizer: value=\"adamax\"", m -> own(m).setKind("adamax"));
    refuses("rounding: value=7", m -> m.getOptimizerBuilder().setRoundingValue(7));
  }

  @Test
  void everyCodecOfNumbersMayBeRoundedStochastically() {
    for (Codec codec :
        List.of(Codec.CODEC_F32, Codec.CODEC_F16, Codec.CODEC_Q8_0, Codec.CODEC_NF4)) {
      ModelSpec.Builder model = model();
      model.getOptimizerBuilder().setRounding(Rounding.ROUNDING_STOCHASTIC);
      model.getParametersBuilder(0).setCodec(codec);
      ParameterSpec checked = ModelCheck.complete(model.build()).getParameters(0);
      assertThat(checked.getCodec()).isEqualTo(codec);
    }
  }
}
