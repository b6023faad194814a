package io.tensorhold.server.catalog;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Initializer;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.InitializerSpec;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.TableSpec;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.util.List;

/** Checks what a specification says of tables, and fills in what it leaves open. */
public final class TableCheck {
  private TableCheck() {}

  /**
   * The initializer of a table.
   *
   * @throws Refusal REQUEST_INVALID naming what is wrong, the value seen and the value allowed
   */
  public static Initializer initializer(String name, TableSpec table) {
    InitializerSpec spec = table.getInitializer();
    String kind = spec.getKind().isEmpty() ? "zeros" : spec.getKind();
    try {
      return Initializer.of(kind, spec.getHyperMap(), table.getDim());
    } catch (IllegalArgumentException e) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "initializer of %s: %s".formatted(ModelCheck.quote(name), e.getMessage()),
          "parameter",
          name);
    }
  }

  /** The complete form of a table. */
  static ParameterSpec complete(ParameterSpec spec, Codec codec, OptimizerSpec shared) {
    String name = spec.getName();
    int dim = spec.getTable().getDim();
    if (dim < 1 || dim > Limits.TABLE_DIM) {
      throw shape(
          name,
          Integer.toUnsignedLong(dim),
          "elements of a row: value=%s allowed=1.." + Limits.TABLE_DIM);
    }
    List<Long> dims = List.of(0L, (long) dim);
    if (spec.getDimsCount() > 0 && !spec.getDimsList().equals(dims)) {
      throw shape(
          name,
          spec.getDimsList(),
          "a table's rows come as they are written: dims value=%s allowed=none");
    }
    if (spec.getBlockElements() != 0 && spec.getBlockElements() != Blocks.DEFAULT_ELEMENTS) {
      throw shape(
          name,
          Integer.toUnsignedLong(spec.getBlockElements()),
          "a table has no blocks: block_elements value=%s allowed=0");
    }
    DType dtype = DType.ofId(spec.getDtypeValue());
    if (!dtype.computable()) {
      throw shape(
          name, dtype, "a table's rows are computed with: dtype value=%s allowed=F32, F16, BF16");
    }
    Initializer initializer = initializer(name, spec.getTable());
    ParameterSpec.Builder complete =
        spec.toBuilder()
            .setCodecValue(codec.id())
            .setBlockElements(Blocks.DEFAULT_ELEMENTS)
            .clearDims()
            .addAllDims(dims);
    complete
        .getTableBuilder()
        .getInitializerBuilder()
        .setKind(initializer.kind())
        .putAllHyper(initializer.hyper());
    completeOptimizer(complete, shared, dim);
    return complete.build();
  }

  /** Row-wise Adagrad has one accumulator a row, unless it is told otherwise. */
  private static void completeOptimizer(
      ParameterSpec.Builder table, OptimizerSpec shared, int dim) {
    OptimizerSpec own = table.getOptimizer();
    String kind = own.getKind().isEmpty() ? shared.getKind() : own.getKind();
    boolean said = own.containsHyper("row") || shared.containsHyper("row");
    if (kind.equals("adagrad_row") && !said) {
      table.getOptimizerBuilder().putHyper("row", dim);
    }
    int blockElements = table.getBlockElements();
    UpdateRule rule = OptimizerCheck.rule(shared);
    // A row of its own length need not divide a dense block.
    table.setBlockElements(dim);
    if (!table.hasOptimizer() && rule != null && rule.optimizer().row() > 1) {
      table.setOptimizer(OptimizerSpec.newBuilder().putHyper("row", rule.optimizer().row()));
    }
    OptimizerCheck.completeParameter(table, shared, false);
    table.setBlockElements(blockElements);
  }

  /** Checks that a model's training is what its tables can take part in. */
  static void checkModel(ModelSpec spec) {
    for (ParameterSpec parameter : spec.getParametersList()) {
      if (parameter.hasTable()) {
        String name = ModelCheck.quote(parameter.getName());
        if (spec.getConsistency() != Consistency.ASP) {
          throw new Refusal(
              Reason.REQUEST_INVALID,
              "%s is a table, and rows are pushed one batch by itself: consistency value=%s allowed=ASP"
                  .formatted(name, spec.getConsistency()),
              "value",
              spec.getConsistency(),
              "expected",
              Consistency.ASP);
        }
        if (spec.getStalenessAwareRate()) {
          throw new Refusal(
              Reason.REQUEST_INVALID,
              "%s is a table, and a push of rows does not say the steps it was computed at: staleness_aware_rate value=true allowed=false"
                  .formatted(name));
        }
        if (spec.getOptimizer().getClipNorm() > 0) {
          throw new Refusal(
              Reason.OPTIMIZER_INVALID,
              "%s is a table, whose gradients are not part of a step's norm: clip_norm value=%s allowed=0"
                  .formatted(name, spec.getOptimizer().getClipNorm()),
              "value",
              spec.getOptimizer().getClipNorm());
        }
      }
    }
  }

  /** What a specification would change of the tables of a model that exists; empty: nothing. */
  static String difference(ModelSpec existing, ModelSpec asked) {
    for (ParameterSpec parameter : asked.getParametersList()) {
      for (ParameterSpec known : existing.getParametersList()) {
        boolean same = known.getName().equals(parameter.getName());
        if (same
            && known.hasTable()
            && parameter.hasTable()
            && !known.getTable().equals(parameter.getTable())) {
          return " (its table %s has %s; asked for %s, and neither can be changed)"
              .formatted(
                  ModelCheck.quote(known.getName()),
                  text(known.getTable()),
                  text(parameter.getTable()));
        }
      }
    }
    return "";
  }

  private static String text(TableSpec table) {
    InitializerSpec initializer = table.getInitializer();
    return "dim %d, %s %s, seed %s"
        .formatted(
            table.getDim(),
            initializer.getKind(),
            initializer.getHyperMap(),
            Long.toUnsignedString(initializer.getSeed()));
  }

  private static Refusal shape(String name, Object value, String what) {
    return new Refusal(
        Reason.SHAPE_INVALID,
        ModelCheck.quote(name) + ": " + what.replace("%s", String.valueOf(value)),
        "parameter",
        name,
        "value",
        value);
  }
}
