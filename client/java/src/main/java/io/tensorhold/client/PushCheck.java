package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.Operation;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a shard would refuse of a push, found before another shard has applied its part: shards
 * check and apply each for itself. Lengths and shapes follow from the parameters and were checked
 * before.
 */
final class PushCheck {
  private PushCheck() {}

  /** The first thing that stands against a push; null: nothing that can be known here. */
  static @Nullable TensorholdException wrong(
      ModelHandle model, Operation operation, List<BlockPart> parts) {
    boolean finite = !model.model().getSpec().getAllowNonfinite();
    for (BlockPart part : parts) {
      TensorholdException wrong = wrong(operation, part);
      if (wrong == null && finite && part.codec().computable() && part.codec().fixedSize()) {
        wrong = nonFinite(part);
      }
      if (wrong != null) {
        return wrong;
      }
    }
    return null;
  }

  /** As {@link #wrong}, of gradients of rows. */
  static @Nullable TensorholdException wrong(ModelHandle model, List<RowGradients> rows) {
    for (RowGradients gradients : rows) {
      Table table = gradients.table();
      if (table.model().id() != model.id()) {
        return new TensorholdException(
            "REQUEST_INVALID",
            "%s is a table of model \"%s\", the step is of \"%s\""
                .formatted(table.name(), table.model().name(), model.name()));
      }
      if (!model.parameter(table.name()).trained()) {
        return new TensorholdException(
            "OPTIMIZER_INVALID",
            "%s has no optimizer: create it with one, or use ADD".formatted(table.name()));
      }
      float[] values = gradients.values();
      for (int i = 0; !model.model().getSpec().getAllowNonfinite() && i < values.length; i++) {
        if (!Float.isFinite(values[i])) {
          return new TensorholdException(
              "NONFINITE",
              "value %d of the row of key %d of %s is NaN or infinite; a model created with allow_nonfinite takes it"
                  .formatted(i % table.dim(), gradients.keys()[i / table.dim()], table.name()));
        }
      }
    }
    return null;
  }

  private static @Nullable TensorholdException wrong(Operation operation, BlockPart part) {
    Parameter parameter = part.parameter();
    if (part.codec().computable() != parameter.codec().computable()) {
      return new TensorholdException(
          "CODEC_INVALID",
          "%s is stored as %s and takes no %s payload"
              .formatted(parameter.name(), parameter.codec().label(), part.codec().label()));
    }
    if (part.codec() == Codec.RAW && operation != Operation.ASSIGN) {
      return new TensorholdException(
          "CODEC_INVALID",
          "%s holds %s, which is stored but not computed with: use ASSIGN instead of %s"
              .formatted(parameter.name(), parameter.dtype(), operation));
    }
    if (operation == Operation.GRADIENT && !parameter.trained()) {
      return new TensorholdException(
          "OPTIMIZER_INVALID",
          "%s has no optimizer: create its model with one, or use ADD".formatted(parameter.name()));
    }
    return null;
  }

  private static @Nullable TensorholdException nonFinite(BlockPart part) {
    int before = 0;
    int left = part.elements();
    for (MemorySegment piece : part.pieces()) {
      int count = left;
      if (part.pieces().size() > 1) { // of a codec without groups: each element has its bytes
        long width = part.codec().bytes(part.parameter().dtype(), 1);
        count = Math.toIntExact(piece.byteSize() / width);
      }
      int at = part.codec().firstNonFinite(Kernels.best(), piece, 0, count);
      if (at >= 0) {
        return new TensorholdException(
            "NONFINITE",
            "value %d of the payload for block %d of %s is NaN or infinite; a model created with allow_nonfinite takes it"
                .formatted(before + at, part.block(), part.parameter().name()));
      }
      before += count;
      left -= count;
    }
    return null;
  }
}
