package io.tensorhold.client.plan;

import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.numerics.Codec;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The storage and memory that a model needs, in bytes.
 *
 * @param parameters all elements
 * @param weightBytes the weights in the planned codec, exact: Σ ceil(n / group) · group bytes
 * @param groups the same by kinds of tensors
 */
public record Plan(
    long parameters,
    long weightBytes,
    List<GroupBytes> groups,
    StoragePlan storage,
    TrainingPlan training) {

  /** One kind of tensors, the codec it is stored in and its bytes. */
  public record GroupBytes(ParameterCount.Group group, Codec codec, long bytes) {}

  /**
   * Bytes in the cluster. A copy is one replica of everything; totals are over all servers.
   *
   * @param optimizerBytes optimizer state of a copy
   * @param versionBytes blocks that sealed versions keep of a copy
   * @param copyBytes weights, state and versions of a copy
   * @param blocks blocks of the current state
   * @param diskBytes on all disks: copies with RocksDB's space amplification, and the logs
   * @param logBytes on all disks: the logs
   * @param memoryBytes in all memory tiers
   * @param server an average server
   * @param fullestServer the fullest server to expect, see {@link ServerLoad}
   */
  public record StoragePlan(
      long optimizerBytes,
      long versionBytes,
      long copyBytes,
      long blocks,
      long diskBytes,
      long logBytes,
      long memoryBytes,
      ServerBytes server,
      ServerBytes fullestServer) {}

  /** Bytes of one server. */
  public record ServerBytes(long disk, long log, long memory) {}

  /**
   * Bytes in the memory of one worker.
   *
   * @param weights its share of the weights
   * @param gradients its share of the gradients
   * @param optimizer its share of optimizer state and master weights
   * @param activationsPerLayer null if the model's layers are not known (no config.json)
   * @param activations of all layers; null likewise
   */
  public record TrainingPlan(
      long weights,
      long gradients,
      long optimizer,
      @Nullable Long activationsPerLayer,
      @Nullable Long activations) {
    /** Weights, gradients and optimizer state. */
    public long state() {
      return weights + gradients + optimizer;
    }

    /** All of it, activations included where they are known. */
    public long total() {
      return state() + (activations == null ? 0 : activations);
    }
  }

  public Plan {
    groups = List.copyOf(groups);
  }

  /**
   * The plan for a model of a config.json.
   *
   * @throws ArithmeticException if a figure does not fit a long
   */
  public static Plan of(ModelConfig model, PlanRequest request) {
    return PlanFormula.plan(model.parameters(), model, request);
  }

  /** The plan for the tensors of a checkpoint, exact to the byte. */
  public static Plan of(List<TensorEntry> tensors, PlanRequest request) {
    return PlanFormula.plan(ParameterCount.of(tensors), null, request);
  }

  /** The plan for a number of parameters. */
  public static Plan of(long parameters, PlanRequest request) {
    return PlanFormula.plan(ParameterCount.of(parameters), null, request);
  }
}
