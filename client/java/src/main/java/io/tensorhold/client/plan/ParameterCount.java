package io.tensorhold.client.plan;

import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of a model, counted by groups of like tensors. Sums are exact; one that does not
 * fit a long is an {@link ArithmeticException}.
 */
public record ParameterCount(List<Group> groups) {
  private static final Pattern DIGITS = Pattern.compile("\\d+");

  /**
   * Tensors of one kind, equal in dtype and size.
   *
   * @param name what they are ("layer attention"), or their common name with {@code *} for numbers
   * @param elements elements of one of them
   * @param copies how many there are
   */
  public record Group(String name, DType dtype, long elements, long copies) {
    public Group {
      if (elements < 0 || copies < 0) {
        throw new IllegalArgumentException(
            "elements=" + elements + " copies=" + copies + ": neither may be negative");
      }
    }

    /** Elements of all of them. */
    public long total() {
      return Math.multiplyExact(elements, copies);
    }

    /** The codec they are stored in when {@code codec} is asked for; null asks for their own. */
    public Codec codec(@Nullable Codec codec) {
      return codec != null && codec.accepts(dtype) ? codec : Codec.nativeOf(dtype);
    }

    /** Bytes of all of them: each tensor's last group of a codec is stored whole. */
    public long bytes(@Nullable Codec codec) {
      return Math.multiplyExact(codec(codec).bytes(dtype, elements), copies);
    }
  }

  public ParameterCount {
    groups = List.copyOf(groups);
  }

  /** So many parameters of f32, nothing else being known of them. */
  public static ParameterCount of(long parameters) {
    return new ParameterCount(List.of(new Group("parameters", DType.F32, parameters, 1)));
  }

  /** The tensors of a checkpoint; names that differ in numbers only are one group. */
  public static ParameterCount of(List<TensorEntry> tensors) {
    Map<Group, Long> copies = new LinkedHashMap<>();
    for (TensorEntry tensor : tensors) {
      String name = DIGITS.matcher(tensor.name()).replaceAll("*");
      copies.merge(new Group(name, tensor.dtype(), tensor.shape().elements(), 1), 1L, Long::sum);
    }
    return new ParameterCount(
        copies.entrySet().stream()
            .map(
                e ->
                    new Group(
                        e.getKey().name(), e.getKey().dtype(), e.getKey().elements(), e.getValue()))
            .toList());
  }

  /** All elements. */
  public long total() {
    return groups.stream().mapToLong(Group::total).reduce(0, Math::addExact);
  }

  /** Bytes of all in a codec; null for each dtype's own, and what it cannot hold stays raw. */
  public long bytes(@Nullable Codec codec) {
    return groups.stream().mapToLong(g -> g.bytes(codec)).reduce(0, Math::addExact);
  }
}
