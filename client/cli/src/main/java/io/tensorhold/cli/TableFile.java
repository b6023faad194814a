package io.tensorhold.cli;

import com.google.protobuf.InvalidProtocolBufferException;
import io.tensorhold.client.Table;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.util.Base64;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How a table lies in a safetensors file: n rows in any order, as tensors of n rows each.
 *
 * <pre>
 * keys     I64 [n]
 * values   [n, dim] in the table's stored dtype if that is F32, F16 or BF16, else decoded to F32
 * steps    U32 [n]      with state: optimizer steps
 * stored   U8 [n, W]    with state, if values were decoded: the weights as they are stored
 * state    U8 [n, S]    with state, if S is not 0: the optimizer state as it is stored
 * </pre>
 *
 * The metadata {@value #SPEC} is a ModelSpec of the model with this table alone, as base64, from
 * which the table is created anew; its initializer says the seed, so that rows that were never
 * written are the same.
 */
final class TableFile {
  static final String KEYS = "keys";
  static final String VALUES = "values";
  static final String STEPS = "steps";
  static final String STORED = "stored";
  static final String STATE = "state";
  static final String SPEC = "tensorhold.table";

  private TableFile() {}

  /** What the values' tensor is made of. */
  static DType dtype(Codec codec) {
    return switch (codec) {
      case F16 -> DType.F16;
      case BF16 -> DType.BF16;
      default -> DType.F32;
    };
  }

  /** Whether the values' tensor has the stored bytes. */
  static boolean plain(Codec codec) {
    return codec == Codec.F32 || codec == Codec.F16 || codec == Codec.BF16;
  }

  /** What {@link #SPEC} says of a table. */
  static Map<String, String> metadata(Table table) {
    ModelSpec whole = table.model().model().getSpec();
    ParameterSpec own =
        whole.getParametersList().stream()
            .filter(parameter -> parameter.getId() == table.id())
            .findFirst()
            .orElseThrow();
    ParameterSpec.Builder alone = own.toBuilder().clearId().clearDims();
    if (table.table().getInitializer().getSeed() == 0) {
      alone.getTableBuilder().getInitializerBuilder().setSeed(table.id());
    }
    ModelSpec spec =
        whole.toBuilder().clearParameters().addParameters(alone).clearMetadata().build();
    return Map.of(SPEC, Base64.getEncoder().encodeToString(spec.toByteArray()));
  }

  /** The model to create for a file's table; null: the file does not say. */
  static @Nullable ModelSpec spec(Checkpoint file, String name) {
    String written = file.metadata().get(SPEC);
    if (written == null) {
      return null;
    }
    try {
      ModelSpec spec = ModelSpec.parseFrom(Base64.getDecoder().decode(written));
      if (spec.getParametersCount() != 1 || !spec.getParameters(0).hasTable()) {
        throw new CliFailure("the file's metadata %s is of no single table".formatted(SPEC));
      }
      return spec.toBuilder().setName(name).build();
    } catch (IllegalArgumentException | InvalidProtocolBufferException e) {
      throw new CliFailure(
          "the file's metadata %s can't be read: %s".formatted(SPEC, e.getMessage()));
    }
  }

  /** A tensor of the file, if it is there and has n rows of so many elements. */
  static @Nullable TensorEntry find(
      Checkpoint file, String name, DType dtype, long rows, long elements) {
    for (TensorEntry tensor : file.tensors()) {
      if (tensor.name().equals(name)) {
        if (tensor.dtype() != dtype || tensor.shape().elements() != rows * elements) {
          throw new CliFailure(
              "tensor %s of the file: value=%s %s expected=%s [%d, %d]"
                  .formatted(name, tensor.dtype(), tensor.shape(), dtype, rows, elements));
        }
        return tensor;
      }
    }
    return null;
  }
}
