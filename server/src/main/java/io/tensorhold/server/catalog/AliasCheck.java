package io.tensorhold.server.catalog;

import static io.tensorhold.server.catalog.ModelCheck.quote;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import io.tensorhold.proto.v1.AliasSpec;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Checks the aliases of a model. In the complete form each names a tensor that has bytes, whatever
 * it was said to be an alias of, and where in that tensor it begins.
 */
final class AliasCheck {
  private final Map<String, ParameterSpec> tensors = new HashMap<>();
  private final Map<String, AliasSpec> aliases = new HashMap<>();
  private final Map<String, AliasSpec> complete = new HashMap<>();

  private AliasCheck(ModelSpec spec) {
    spec.getParametersList().forEach(tensor -> tensors.put(tensor.getName(), tensor));
  }

  /**
   * Replaces the aliases of a specification, whose parameters are complete, by complete ones.
   *
   * @throws Refusal naming the first alias that is wrong
   */
  static void complete(ModelSpec.Builder spec) {
    AliasCheck check = new AliasCheck(spec.build());
    for (AliasSpec alias : spec.getAliasesList()) {
      ModelCheck.checkName("alias", alias.getName());
      if (check.tensors.containsKey(alias.getName())
          || check.aliases.put(alias.getName(), alias) != null) {
        throw new Refusal(
            Reason.NAME_INVALID,
            "the alias %s has the name of a parameter or of another alias: rename one"
                .formatted(quote(alias.getName())),
            "parameter",
            alias.getName());
      }
    }
    for (int i = 0; i < spec.getAliasesCount(); i++) {
      check.follow(spec.getAliases(i).getName());
      spec.setAliases(i, check.complete.get(spec.getAliases(i).getName()));
    }
  }

  /** Completes an alias after those that it stands on. */
  private void follow(String name) {
    List<AliasSpec> way = new ArrayList<>();
    Set<String> passed = new HashSet<>();
    String at = name;
    while (aliases.containsKey(at) && !complete.containsKey(at)) {
      if (!passed.add(at)) {
        throw wrong(
            at,
            way.size() == 1
                ? "is an alias of itself"
                : "is an alias of itself by way of " + quote(way.getLast().getName()));
      }
      way.add(aliases.get(at));
      at = aliases.get(at).getOf();
    }
    for (AliasSpec alias : way.reversed()) {
      complete.put(alias.getName(), complete(alias));
    }
  }

  private AliasSpec complete(AliasSpec alias) {
    AliasSpec below = complete.get(alias.getOf());
    ParameterSpec tensor = tensors.get(below == null ? alias.getOf() : below.getOf());
    if (tensor == null || tensor.hasTable() || tensor.getAttachment()) {
      throw wrong(
          alias.getName(),
          "is an alias of %s, which is %s"
              .formatted(
                  quote(alias.getOf()),
                  tensor == null ? "nothing of the model" : "not a tensor of the model"));
    }
    if (alias.getDtypeValue() != 0 && alias.getDtypeValue() != tensor.getDtypeValue()) {
      throw wrong(
          alias.getName(),
          "is of the dtype %s and an alias of %s, which is %s"
              .formatted(alias.getDtype(), quote(alias.getOf()), tensor.getDtype()));
    }
    long there =
        below == null ? ModelSizes.elements(tensor) : shape(below.getName(), below).elements();
    long elements = shape(alias.getName(), alias).elements();
    long first = alias.getFirstElement();
    if (first < 0 || first > there || elements > there - first) {
      throw wrong(
          alias.getName(),
          "has %d elements from element %s of %s on, which has %d"
              .formatted(elements, Long.toUnsignedString(first), quote(alias.getOf()), there));
    }
    long base = below == null ? 0 : below.getFirstElement();
    long whole = ModelSizes.elements(tensor);
    DType dtype = DType.ofId(tensor.getDtypeValue());
    if (dtype.group() > 1 && elements != whole) {
      throw wrong(
          alias.getName(),
          "is a part of %s, whose elements of %s share bytes: allowed is an alias of all of it"
              .formatted(quote(alias.getOf()), dtype));
    }
    return alias.toBuilder()
        .setOf(tensor.getName())
        .setFirstElement(base + first)
        .setDtypeValue(tensor.getDtypeValue())
        .build();
  }

  private static Shape shape(String name, AliasSpec alias) {
    try {
      return Shape.of(alias.getDimsList().stream().mapToLong(Long::longValue).toArray());
    } catch (IllegalArgumentException e) {
      throw wrong(name, "has a shape that no tensor can have: " + e.getMessage());
    }
  }

  private static Refusal wrong(String name, String problem) {
    return new Refusal(
        Reason.ALIAS_INVALID, "%s %s".formatted(quote(name), problem), "parameter", name);
  }
}
