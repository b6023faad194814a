package io.tensorhold.server.catalog;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.StragglerPolicy;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.wire.StepNeeds;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Set;

/** Checks the specification of a model and fills in what it leaves to defaults. */
public final class ModelCheck {
  private ModelCheck() {}

  /**
   * The complete form of a specification: every codec, block size and hyper-parameter is set.
   *
   * @throws Refusal naming the first thing that is wrong, the value seen and the value allowed
   */
  public static ModelSpec complete(ModelSpec spec) {
    checkName("model", spec.getName());
    long count = (long) spec.getParametersCount() + spec.getAliasesCount();
    if (count > Limits.PARAMETERS) {
      throw new Refusal(
          Reason.LIMIT,
          "a model has at most %d parameters, aliases among them: value=%d"
              .formatted(Limits.PARAMETERS, count),
          "limit-name",
          "parameters",
          "value",
          count,
          "limit",
          Limits.PARAMETERS);
    }
    checkMetadata(spec);
    ModelSpec.Builder complete = spec.toBuilder().clearParameters();
    completeTraining(spec, complete);
    Set<String> names = new HashSet<>();
    for (ParameterSpec parameter : spec.getParametersList()) {
      if (!names.add(parameter.getName())) {
        throw new Refusal(
            Reason.NAME_INVALID,
            "two parameters are named " + quote(parameter.getName()) + ": rename one",
            "parameter",
            parameter.getName());
      }
      complete.addParameters(
          complete(parameter, spec.getOptimizer(), spec.getStalenessAwareRate()));
    }
    AliasCheck.complete(complete);
    ModelSpec whole = complete.build();
    TableCheck.checkModel(whole);
    if (StepNeeds.of(whole).trust() && whole.getConsistency() != Consistency.BSP) {
      throw new Refusal(
          Reason.OPTIMIZER_INVALID,
          "lamb takes the norms of the workers' mean gradient over all blocks, which only BSP has:"
              + " consistency value=%s allowed=BSP (workers=1 for a worker alone)"
                  .formatted(whole.getConsistency()),
          "value",
          whole.getConsistency(),
          "expected",
          Consistency.BSP);
    }
    return whole;
  }

  private static void checkMetadata(ModelSpec spec) {
    long bytes = 0;
    for (var entry : spec.getMetadataMap().entrySet()) {
      bytes += utf8(entry.getKey()) + utf8(entry.getValue());
    }
    if (bytes > Limits.METADATA_BYTES) {
      throw new Refusal(
          Reason.LIMIT,
          "metadata has %d bytes, limit=%d: keep less with the model"
              .formatted(bytes, Limits.METADATA_BYTES),
          "limit-name",
          "metadata",
          "value",
          bytes,
          "limit",
          Limits.METADATA_BYTES);
    }
  }

  private static void completeTraining(ModelSpec spec, ModelSpec.Builder complete) {
    if (spec.hasOptimizer()) {
      complete.setOptimizer(OptimizerCheck.complete(spec.getOptimizer()));
    }
    if (spec.getDurability() == Durability.UNRECOGNIZED
        || spec.getConsistency() == Consistency.UNRECOGNIZED) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "unknown durability or consistency: value=%d, %d"
              .formatted(spec.getDurabilityValue(), spec.getConsistencyValue()));
    }
    if (spec.getDurability() == Durability.DURABILITY_UNSPECIFIED) {
      complete.setDurability(Durability.LOGGED);
    }
    if (spec.getConsistency() == Consistency.CONSISTENCY_UNSPECIFIED) {
      complete.setConsistency(Consistency.ASP);
    }
    completeSteps(spec, complete);
    checkRate(spec);
  }

  private static void checkRate(ModelSpec spec) {
    if (spec.getStalenessAwareRate() && spec.getConsistency() == Consistency.BSP) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "staleness_aware_rate is for ASP and SSP: no gradient of a BSP step is stale");
    }
  }

  /** How workers step together: their number, the staleness, what becomes of a late one. */
  private static void completeSteps(ModelSpec spec, ModelSpec.Builder complete) {
    boolean together = spec.getConsistency() == Consistency.BSP;
    boolean stale = spec.getConsistency() == Consistency.SSP;
    int fewest = together ? 1 : 0;
    inRange("workers", spec.getWorkers(), fewest, Limits.WORKERS);
    if (!together && !stale) {
      if (spec.getStaleness() != 0
          || spec.getOnStragglerValue() != 0
          || spec.getStragglerTimeoutMs() != 0) {
        throw new Refusal(
            Reason.REQUEST_INVALID,
            "staleness, on_straggler and straggler_timeout_ms are for BSP and SSP: leave them 0");
      }
      return;
    }
    if (spec.getDurability() == Durability.CHECKPOINTED) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "a BSP or SSP model is LOGGED: a step that is lost on one shard and kept on another would"
              + " tear it");
    }
    if (stale || spec.getStaleness() != 0) {
      inRange("staleness", spec.getStaleness(), stale ? 1 : 0, stale ? Limits.STALENESS : 0);
    }
    inRange("straggler_timeout_ms", spec.getStragglerTimeoutMs(), 0, Limits.STRAGGLER_MAX_MS);
    if (spec.getStragglerTimeoutMs() == 0) {
      complete.setStragglerTimeoutMs(Limits.STRAGGLER_DEFAULT_MS);
    }
    switch (spec.getOnStraggler()) {
      case STRAGGLER_POLICY_UNSPECIFIED -> complete.setOnStraggler(StragglerPolicy.WAIT);
      case WAIT, PROCEED -> {}
      default -> {
        if (!together || spec.getOnStraggler() != StragglerPolicy.FAIL) {
          throw new Refusal(
              Reason.REQUEST_INVALID,
              "on_straggler: value=%d allowed=WAIT, PROCEED%s"
                  .formatted(spec.getOnStragglerValue(), together ? ", FAIL" : ""),
              "value",
              spec.getOnStragglerValue());
        }
      }
    }
  }

  private static void inRange(String name, int value, int least, int most) {
    if (value < least || value > most) {
      throw new Refusal(
          Reason.LIMIT,
          "%s: value=%d allowed=%d..%d".formatted(name, Integer.toUnsignedLong(value), least, most),
          "limit-name",
          name,
          "value",
          Integer.toUnsignedLong(value),
          "limit",
          most);
    }
  }

  private static ParameterSpec complete(
      ParameterSpec spec, OptimizerSpec shared, boolean stalenessAwareRate) {
    String name = spec.getName();
    checkName("parameter", name);
    DType dtype;
    try {
      dtype = DType.ofId(spec.getDtypeValue());
    } catch (IllegalArgumentException e) {
      throw new Refusal(
          Reason.SHAPE_INVALID,
          "dtype of %s: %s".formatted(quote(name), e.getMessage()),
          "parameter",
          name,
          "value",
          spec.getDtypeValue());
    }
    if (spec.getAttachment()
        && (dtype != DType.U8 || spec.getDimsCount() != 1 || spec.hasTable())) {
      throw new Refusal(
          Reason.SHAPE_INVALID,
          "the attachment %s is %s of %d dimensions: allowed is U8 of 1"
              .formatted(quote(name), dtype, spec.getDimsCount()),
          "parameter",
          name);
    }
    Codec codec = codec(spec, dtype);
    if (spec.hasTable()) {
      return TableCheck.complete(spec, codec, shared);
    }
    int blockElements =
        spec.getBlockElements() == 0 ? Blocks.DEFAULT_ELEMENTS : spec.getBlockElements();
    if (blockElements < 0
        || blockElements > Limits.BLOCK_ELEMENTS
        || blockElements % Blocks.MULTIPLE != 0) {
      throw new Refusal(
          Reason.SHAPE_INVALID,
          "block_elements of %s: value=%d allowed=multiples of %d up to %d"
              .formatted(
                  quote(name),
                  Integer.toUnsignedLong(blockElements),
                  Blocks.MULTIPLE,
                  Limits.BLOCK_ELEMENTS),
          "parameter",
          name,
          "value",
          blockElements,
          "limit",
          Limits.BLOCK_ELEMENTS);
    }
    try {
      long[] dims = spec.getDimsList().stream().mapToLong(Long::longValue).toArray();
      long elements = Shape.of(dims).elements();
      codec.bytes(dtype, elements);
      Blocks.count(elements, blockElements);
    } catch (IllegalArgumentException | ArithmeticException e) {
      throw new Refusal(
          Reason.SHAPE_INVALID,
          "shape of %s: %s".formatted(quote(name), e.getMessage()),
          "parameter",
          name,
          "value",
          spec.getDimsList());
    }
    ParameterSpec.Builder complete =
        spec.toBuilder().setCodecValue(codec.id()).setBlockElements(blockElements);
    OptimizerCheck.completeParameter(complete, shared, stalenessAwareRate);
    return complete.build();
  }

  private static Codec codec(ParameterSpec spec, DType dtype) {
    if (spec.getCodecValue() == 0) {
      return Codec.nativeOf(dtype);
    }
    Codec codec;
    try {
      codec = Codec.ofId(spec.getCodecValue());
    } catch (IllegalArgumentException e) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "codec of %s: %s".formatted(quote(spec.getName()), e.getMessage()),
          "parameter",
          spec.getName(),
          "value",
          spec.getCodecValue());
    }
    if (!codec.accepts(dtype)) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "%s is %s and can't be stored as %s: allowed=%s"
              .formatted(
                  quote(spec.getName()),
                  dtype,
                  codec.label(),
                  dtype.computable() ? Codec.storableLabels() : "raw"),
          "parameter",
          spec.getName(),
          "value",
          codec.label());
    }
    return codec;
  }

  /**
   * Checks a name of a model or a parameter.
   *
   * @throws Refusal NAME_INVALID if it is empty, too long, or has control characters
   */
  public static void checkName(String what, String name) {
    String wrong = null;
    int bytes = utf8(name);
    if (name.isEmpty()) {
      wrong = "is empty";
    } else if (bytes > Limits.NAME_BYTES) {
      wrong = "has %d bytes, limit=%d".formatted(bytes, Limits.NAME_BYTES);
    } else {
      int at = 0;
      while (at < name.length() && !Character.isISOControl(name.charAt(at))) {
        at++;
      }
      if (at < name.length()) {
        wrong =
            "has the control character U+%04X at position %d".formatted((int) name.charAt(at), at);
      }
    }
    if (wrong != null) {
      throw new Refusal(
          Reason.NAME_INVALID,
          "the %s name %s %s; allowed are 1 to %d bytes of UTF-8 without control characters"
              .formatted(what, quote(name), wrong, Limits.NAME_BYTES),
          "value",
          quote(name),
          "limit",
          Limits.NAME_BYTES);
    }
  }

  /** A name for a message: quoted, cut when long, control characters escaped. */
  public static String quote(String name) {
    StringBuilder text = new StringBuilder("\"");
    for (int i = 0; i < Math.min(name.length(), 80); i++) {
      char c = name.charAt(i);
      if (Character.isISOControl(c)) {
        text.append("\\u%04x".formatted((int) c));
      } else {
        text.append(c);
      }
    }
    return text.append(name.length() > 80 ? "…\"" : "\"").toString();
  }

  private static int utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }
}
