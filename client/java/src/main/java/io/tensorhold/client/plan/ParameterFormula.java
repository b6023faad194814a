package io.tensorhold.client.plan;

import io.tensorhold.client.plan.ParameterCount.Group;
import io.tensorhold.numerics.DType;
import java.util.ArrayList;
import java.util.List;

/**
 * Which tensors each family of transformers has. With f = 4h and no grouping of heads the sums are
 * the known formulas:
 *
 * <pre>
 * GPT    L(12h² + 13h) + Vh + sh + 2h
 * BERT   (V + 512 + 2)h + 2h + L(12h² + 13h) + h² + h
 * LLaMA  L(2h² + 2h·n_kv·d + 3hf + 2h) + Vh·(1 tied | 2) + h
 * </pre>
 */
final class ParameterFormula {
  private final ModelConfig c;
  private final List<Group> groups = new ArrayList<>();

  private ParameterFormula(ModelConfig config) {
    this.c = config;
  }

  static ParameterCount count(ModelConfig config) {
    ParameterFormula formula = new ParameterFormula(config);
    switch (config.family()) {
      case GPT2 -> formula.gpt2();
      case BERT -> formula.bert();
      case BLOOM -> formula.bloom();
      case LLAMA -> formula.llama();
    }
    return new ParameterCount(formula.groups);
  }

  private void gpt2() {
    matrix("token embedding", c.vocabulary(), c.hidden(), 1);
    matrix("position embedding", c.positions(), c.hidden(), 1);
    biasedLayers();
    vector("final norm", c.hidden(), 2);
    output();
  }

  private void bert() {
    matrix("token embedding", c.vocabulary(), c.hidden(), 1);
    matrix("position embedding", c.positions(), c.hidden(), 1);
    matrix("token type embedding", c.tokenTypes(), c.hidden(), 1);
    vector("embedding norm", c.hidden(), 2);
    biasedLayers();
    matrix("pooler", c.hidden(), c.hidden(), 1);
    vector("pooler bias", c.hidden(), 1);
  }

  private void bloom() {
    matrix("token embedding", c.vocabulary(), c.hidden(), 1);
    vector("embedding norm", c.hidden(), 2);
    biasedLayers();
    vector("final norm", c.hidden(), 2);
    output();
  }

  private void biasedLayers() {
    matrix("layer attention", c.hidden(), c.hidden(), 4 * c.layers());
    vector("layer attention bias", c.hidden(), 4 * c.layers());
    matrix("layer feed-forward", c.hidden(), c.intermediate(), 2 * c.layers());
    vector("layer feed-forward bias in", c.intermediate(), c.layers());
    vector("layer feed-forward bias out", c.hidden(), c.layers());
    vector("layer norms", c.hidden(), 4 * c.layers());
  }

  private void llama() {
    matrix("token embedding", c.vocabulary(), c.hidden(), 1);
    matrix("layer attention q, o", c.hidden(), c.heads() * c.headSize(), 2 * c.layers());
    matrix("layer attention k, v", c.hidden(), c.kvHeads() * c.headSize(), 2 * c.layers());
    if (c.experts() > 1) {
      matrix("layer router", c.hidden(), c.experts(), c.layers());
    }
    matrix("layer feed-forward", c.hidden(), c.intermediate(), 3 * c.experts() * c.layers());
    vector("layer norms", c.hidden(), 2 * c.layers());
    vector("final norm", c.hidden(), 1);
    output();
  }

  private void output() {
    if (!c.tied()) {
      matrix("output", c.vocabulary(), c.hidden(), 1);
    }
  }

  private void matrix(String name, long rows, long columns, long copies) {
    vector(name, Math.multiplyExact(rows, columns), copies);
  }

  private void vector(String name, long elements, long copies) {
    groups.add(new Group(name, DType.F32, elements, copies));
  }
}
