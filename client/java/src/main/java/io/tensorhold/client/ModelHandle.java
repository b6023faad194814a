package io.tensorhold.client;

import io.tensorhold.proto.v1.AliasSpec;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ModelState;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.wire.ShardHash;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * A model of the cluster, as it was when it was asked for.
 *
 * <p>Under a staleness-aware rate it also knows which values were pulled last through it and its
 * parameters: gradients are taken to be computed at those. So each worker has a handle of its own.
 */
public final class ModelHandle {
  private final Model model;
  private final Map<String, Parameter> parameters = new LinkedHashMap<>();
  private final Map<Long, Parameter> byId = new LinkedHashMap<>();
  private final Map<String, Parameter> aliases = new LinkedHashMap<>();
  private final Map<String, Parameter> attachments = new LinkedHashMap<>();

  private final PulledSteps pulledSteps;

  ModelHandle(Model model) {
    this.model = model;
    this.pulledSteps = new PulledSteps(model.getSpec().getStalenessAwareRate());
    for (ParameterSpec spec : model.getSpec().getParametersList()) {
      Parameter parameter = new Parameter(this, spec);
      (spec.getAttachment() ? attachments : parameters).put(spec.getName(), parameter);
      byId.put(spec.getId(), parameter);
    }
    for (AliasSpec alias : model.getSpec().getAliasesList()) {
      Parameter tensor = parameters.get(alias.getOf());
      if (tensor != null) {
        Parameter view = new Parameter(tensor, alias);
        // Another name and nothing else: the same object, so that a map has it once.
        aliases.put(alias.getName(), view.shape().equals(tensor.shape()) ? tensor : view);
      }
    }
  }

  /** As the catalog describes it. */
  public Model model() {
    return model;
  }

  PulledSteps pulledSteps() {
    return pulledSteps;
  }

  /** Its name. */
  public String name() {
    return model.getSpec().getName();
  }

  /** Its number, unique in the cluster. */
  public long id() {
    return model.getId();
  }

  /** Whether it is still being loaded, and so hidden from others. */
  public boolean loading() {
    return model.getState() == ModelState.LOADING;
  }

  /** The shards that hold a block or may hold a row of it, when the cluster has so many. */
  SortedSet<Integer> shards(int shardCount) {
    SortedSet<Integer> shards = new TreeSet<>();
    for (Parameter parameter : byId.values()) {
      for (int shard = 0; parameter.isTable() && shard < shardCount; shard++) {
        shards.add(shard);
      }
      for (int block = 0; block < parameter.blocks() && shards.size() < shardCount; block++) {
        shards.add(ShardHash.shard(parameter.id(), block, shardCount));
      }
    }
    return shards;
  }

  /** Its parameters, in the order they were created; neither aliases nor attachments. */
  public Collection<Parameter> parameters() {
    return List.copyOf(parameters.values());
  }

  /**
   * Its aliases, in the order they were created: the tensor itself under its other name, or a view.
   */
  public Map<String, Parameter> aliases() {
    return Collections.unmodifiableMap(aliases);
  }

  /** Files that were loaded with it, in the order they were created: U8 of one dimension. */
  public Map<String, Parameter> attachments() {
    return Collections.unmodifiableMap(attachments);
  }

  /**
   * The parameter of a name; of an alias the tensor that it is, or a view.
   *
   * @throws TensorholdException PARAMETER_UNKNOWN, naming parameters that are spelled alike
   */
  public Parameter parameter(String name) {
    Parameter parameter = parameters.getOrDefault(name, aliases.get(name));
    if (parameter == null) {
      List<String> near =
          parameters.keySet().stream()
              .filter(known -> known.contains(name) || name.contains(known) || tail(known, name))
              .limit(5)
              .toList();
      throw new TensorholdException(
          "PARAMETER_UNKNOWN",
          "model \"%s\" has no parameter \"%s\"%s"
              .formatted(
                  name(), name, near.isEmpty() ? "" : "; near it are " + String.join(", ", near)));
    }
    return parameter;
  }

  private static boolean tail(String known, String name) {
    String last = name.substring(name.lastIndexOf('.') + 1);
    return !last.isEmpty() && known.endsWith("." + last);
  }

  /** Its dense tensors, in the order they were created. */
  public List<Parameter> tensors() {
    return parameters.values().stream().filter(parameter -> !parameter.isTable()).toList();
  }

  /** Its tables, in the order they were created. */
  public List<Table> tables() {
    return model.getSpec().getParametersList().stream()
        .filter(ParameterSpec::hasTable)
        .map(spec -> new Table(this, spec))
        .toList();
  }

  /**
   * The table of a name.
   *
   * @throws TensorholdException PARAMETER_UNKNOWN, naming the tables that there are
   */
  public Table table(String name) {
    List<Table> tables = tables();
    return tables.stream()
        .filter(table -> table.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new TensorholdException(
                    "PARAMETER_UNKNOWN",
                    "model \"%s\" has no table \"%s\"; its tables: %s"
                        .formatted(name(), name, tables.stream().map(Table::name).toList())));
  }

  /** The parameter of an id, as block headers carry it. */
  public Parameter parameter(long id) {
    Parameter parameter = byId.get(id);
    if (parameter == null) {
      throw new TensorholdException(
          "PARAMETER_UNKNOWN",
          "model \"%s\" has no parameter with the id %d".formatted(name(), id));
    }
    return parameter;
  }
}
