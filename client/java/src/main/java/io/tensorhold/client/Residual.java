package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** A worker's residual as a model of its own, {@code NAME.residual.rankN}: f32 tensors. */
final class Residual {
  private Residual() {}

  static String name(Worker worker) {
    return "%s.residual.rank%d".formatted(worker.model().name(), worker.rank());
  }

  /** Writes it, and creates its model if there is none. */
  static void save(TensorholdClient client, Worker worker) {
    ModelHandle saved;
    try {
      saved = client.model(name(worker));
    } catch (TensorholdException e) {
      if (!e.reason().equals("MODEL_UNKNOWN")) {
        throw e;
      }
      saved = client.create(spec(worker));
    }
    List<CompletableFuture<PushResult>> pushes = new ArrayList<>();
    for (Parameter parameter : trained(worker)) {
      pushes.add(
          worker
              .session()
              .push(
                  saved.parameter(parameter.name()),
                  Operation.ASSIGN,
                  Codec.F32,
                  worker.session().gradients().copyOfResidual(parameter)));
    }
    pushes.forEach(CompletableFuture::join);
  }

  /** Reads it; false if none was ever saved. */
  static boolean restore(TensorholdClient client, Worker worker) {
    ModelHandle saved;
    try {
      saved = client.model(name(worker));
    } catch (TensorholdException e) {
      if (e.reason().equals("MODEL_UNKNOWN")) {
        return false;
      }
      throw e;
    }
    for (Parameter parameter : trained(worker)) {
      client.pull(
          saved.parameter(parameter.name()),
          Codec.F32,
          worker.session().gradients().residual(parameter));
    }
    return true;
  }

  private static List<Parameter> trained(Worker worker) {
    return worker.model().parameters().stream().filter(p -> p.codec().computable()).toList();
  }

  private static ModelSpec spec(Worker worker) {
    ModelSpec.Builder spec = ModelSpec.newBuilder().setName(name(worker));
    for (Parameter parameter : trained(worker)) {
      ParameterSpec.Builder tensor =
          ParameterSpec.newBuilder()
              .setName(parameter.name())
              .setDtypeValue(DType.F32.id())
              .setBlockElements(parameter.blockElements());
      for (int i = 0; i < parameter.shape().rank(); i++) {
        tensor.addDims(parameter.shape().dim(i));
      }
      spec.addParameters(tensor);
    }
    return spec.build();
  }
}
