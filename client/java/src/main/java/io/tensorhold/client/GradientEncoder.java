package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.TopK;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Encodes the gradients of one session's steps, and keeps what was left out. */
final class GradientEncoder {
  private final Kernels kernels = Kernels.best();
  private final Map<Long, MemorySegment> residuals = new TreeMap<>();
  private GradientCodec form = GradientCodec.F32;

  /** Steps from now on are encoded so; a residual is kept as long as there is feedback. */
  synchronized void use(GradientCodec other) {
    form = other;
    if (!form.errorFeedback()) {
      residuals.clear();
    }
  }

  /** What is left out of a parameter's gradients so far, as f32: zeros at first. */
  synchronized MemorySegment residual(Parameter parameter) {
    return residuals.computeIfAbsent(
        parameter.id(), id -> floats(Math.toIntExact(parameter.elements())));
  }

  /** A copy of it that stays as it is. */
  synchronized MemorySegment copyOfResidual(Parameter parameter) {
    MemorySegment residual = residual(parameter);
    return floats(Math.toIntExact(parameter.elements())).copyFrom(residual);
  }

  /**
   * The parts of a step, in the order of parameter ids.
   *
   * @throws TensorholdException NONFINITE if a residual would be lost to a NaN; nothing is changed
   */
  synchronized List<BlockPart> encode(Map<Parameter, MemorySegment> gradients) {
    List<Map.Entry<Parameter, MemorySegment>> inOrder =
        gradients.entrySet().stream()
            .sorted((a, b) -> Long.compareUnsigned(a.getKey().id(), b.getKey().id()))
            .toList();
    for (Map.Entry<Parameter, MemorySegment> entry : inOrder) {
      check(entry.getKey(), entry.getValue());
    }
    List<BlockPart> parts = new ArrayList<>();
    for (Map.Entry<Parameter, MemorySegment> entry : inOrder) {
      Parameter parameter = entry.getKey();
      if (form.codec() == Codec.F32) {
        parts.addAll(TensorParts.whole(parameter, Codec.F32, entry.getValue()));
        continue;
      }
      for (int block = 0; block < parameter.blocks(); block++) {
        parts.add(encode(parameter, block, entry.getValue()));
      }
    }
    return parts;
  }

  private void check(Parameter parameter, MemorySegment gradient) {
    requireTensor(parameter);
    TensorParts.requireBytes(parameter.name(), 4 * parameter.elements(), gradient);
    if (form.errorFeedback()) {
      int bad = Codec.F32.firstNonFinite(kernels, gradient, 0, (int) (gradient.byteSize() / 4));
      if (bad >= 0) {
        throw new TensorholdException(
            "NONFINITE",
            "value %d of the gradient of %s is NaN or infinite, which error feedback would keep for ever"
                .formatted(bad, parameter.name()));
      }
    }
  }

  /** Refuses a view, whose tensor makes the step. */
  static void requireTensor(Parameter parameter) {
    if (parameter.isView()) {
      throw new TensorholdException(
          "ALIAS_INVALID",
          "%s is a part of %s, or all of it under another shape: a step takes the gradient of %s"
              .formatted(parameter.name(), parameter.tensor().name(), parameter.tensor().name()));
    }
  }

  private BlockPart encode(Parameter parameter, int block, MemorySegment gradient) {
    int n = parameter.elementsIn(block);
    long at = parameter.offset(block, Codec.F32);
    MemorySegment values = gradient;
    if (form.errorFeedback()) {
      values = residual(parameter);
      kernels.add(values, at, gradient, at, n);
    }
    MemorySegment sent = encode(values, at, n);
    if (form.errorFeedback()) {
      MemorySegment decoded = floats(n);
      form.codec().decode(kernels, sent, 0, decoded, 0, n);
      kernels.scale(decoded, 0, -1, n);
      kernels.add(values, at, decoded, 0, n);
    }
    return new BlockPart(parameter, block, form.codec(), List.of(), List.of(sent));
  }

  private MemorySegment encode(MemorySegment values, long at, int n) {
    if (form.codec() == Codec.TOPK) {
      int k = TopK.count(n, form.fraction());
      MemorySegment room = MemorySegment.ofArray(new byte[Math.toIntExact(TopK.mostBytes(n, k))]);
      return room.asSlice(0, TopK.encode(values, at, n, k, room, 0));
    }
    MemorySegment sent =
        MemorySegment.ofArray(new byte[Math.toIntExact(form.codec().bytes(DType.F32, n))]);
    form.codec().encode(kernels, values, at, sent, 0, n);
    return sent;
  }

  private static MemorySegment floats(int elements) {
    return MemorySegment.ofArray(new byte[Math.multiplyExact(4, elements)]);
  }
}
