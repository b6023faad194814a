package io.tensorhold.server.catalog;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.proto.v1.ListModelsResponse;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ParameterSpec;

/** Elements and bytes that a specification comes to. */
public final class ModelSizes {
  private ModelSizes() {}

  /** Elements of a parameter. */
  public static long elements(ParameterSpec spec) {
    long elements = 1;
    for (long dim : spec.getDimsList()) {
      elements = Math.multiplyExact(elements, dim);
    }
    return elements;
  }

  /** Blocks of a parameter. */
  public static int blocks(ParameterSpec spec) {
    return Blocks.count(elements(spec), spec.getBlockElements());
  }

  /** Bytes of a parameter's stored form, one replica, without optimizer state. */
  public static long bytes(ParameterSpec spec) {
    return Codec.ofId(spec.getCodecValue()).bytes(DType.ofId(spec.getDtypeValue()), elements(spec));
  }

  static ListModelsResponse.Entry entry(Model model) {
    long elements = 0;
    long bytes = 0;
    for (ParameterSpec parameter : model.getSpec().getParametersList()) {
      elements += elements(parameter);
      bytes += bytes(parameter);
    }
    return ListModelsResponse.Entry.newBuilder()
        .setName(model.getSpec().getName())
        .setId(model.getId())
        .setState(model.getState())
        .setParameters(model.getSpec().getParametersCount())
        .setElements(elements)
        .setAliases(model.getSpec().getAliasesCount())
        .setBytes(bytes)
        .build();
  }
}
