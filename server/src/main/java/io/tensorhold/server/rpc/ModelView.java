package io.tensorhold.server.rpc;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.proto.v1.InitializerSpec;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.ModelSizes;
import io.tensorhold.server.catalog.OptimizerCheck;
import io.tensorhold.server.catalog.TableCheck;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.TableForm;
import io.tensorhold.wire.StepNeeds;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A model with its parameters by id, as requests for blocks need it. */
record ModelView(
    Model model, Map<Long, ParameterRecord> records, Map<Long, String> names, StepNeeds needs) {
  static ModelView of(Model model) {
    Map<Long, ParameterRecord> records = new HashMap<>();
    Map<Long, String> names = new HashMap<>();
    UpdateRule shared = OptimizerCheck.rule(model.getSpec().getOptimizer());
    for (ParameterSpec spec : model.getSpec().getParametersList()) {
      Codec codec = Codec.ofId(spec.getCodecValue());
      UpdateRule own = spec.hasOptimizer() ? OptimizerCheck.rule(spec.getOptimizer()) : shared;
      records.put(
          spec.getId(),
          new ParameterRecord(
              spec.getId(),
              DType.ofId(spec.getDtypeValue()),
              codec,
              ModelSizes.elements(spec),
              spec.getBlockElements(),
              codec.computable() ? own : null,
              form(spec)));
      names.put(spec.getId(), spec.getName());
    }
    return new ModelView(model, records, names, StepNeeds.of(model.getSpec()));
  }

  private static @Nullable TableForm form(ParameterSpec spec) {
    if (!spec.hasTable()) {
      return null;
    }
    InitializerSpec initializer = spec.getTable().getInitializer();
    return new TableForm(
        spec.getTable().getDim(),
        TableCheck.initializer(spec.getName(), spec.getTable()),
        initializer.getSeed() == 0 ? spec.getId() : initializer.getSeed());
  }

  ParameterRecord record(long id) {
    ParameterRecord record = records.get(id);
    if (record == null) {
      throw new Refusal(
          Reason.PARAMETER_UNKNOWN,
          "model \"%s\" has no parameter with the id %s"
              .formatted(model.getSpec().getName(), Long.toUnsignedString(id)),
          "model",
          model.getSpec().getName(),
          "parameter",
          Long.toUnsignedString(id));
    }
    return record;
  }

  String name(long id) {
    return names.getOrDefault(id, Long.toUnsignedString(id));
  }
}
