package io.tensorhold.client.plan;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.StateCodec;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What is planned for: how the model is stored, and how it is trained.
 *
 * <p>Example: {@code PlanRequest.DEFAULT.withCodec(Codec.Q8_0).withStorage(storage)}.
 *
 * @param codec of the weights, one that blocks may be stored in; null for each dtype's own
 */
public record PlanRequest(
    @Nullable Codec codec, Optimizer optimizer, Storage storage, Training training) {
  /** Every default of every part. */
  public static final PlanRequest DEFAULT =
      new PlanRequest(null, Optimizer.NONE, Storage.DEFAULT, Training.DEFAULT);

  /**
   * Refuses what nothing can be stored as.
   *
   * @throws IllegalArgumentException naming the codec and those that are allowed
   */
  public PlanRequest {
    if (codec != null && !(codec.computable() && codec.storable())) {
      throw new IllegalArgumentException(
          "weights can't be stored as %s: allowed=%s"
              .formatted(codec.label(), Codec.storableLabels()));
    }
  }

  /** Another codec; null for each dtype's own. */
  public PlanRequest withCodec(@Nullable Codec other) {
    return new PlanRequest(other, optimizer, storage, training);
  }

  /** Another optimizer. */
  public PlanRequest withOptimizer(Optimizer other) {
    return new PlanRequest(codec, other, storage, training);
  }

  /** Another way to store. */
  public PlanRequest withStorage(Storage other) {
    return new PlanRequest(codec, optimizer, other, training);
  }

  /** Another way to train. */
  public PlanRequest withTraining(Training other) {
    return new PlanRequest(codec, optimizer, storage, other);
  }

  /**
   * The state an optimizer keeps beside each element.
   *
   * @param slots values an element: 0 for SGD, 1 with momentum, 2 for Adam and AdamW
   * @param slotBytes bytes of one value: 4 for f32, 1 + 4/256 for blockwise 8-bit
   */
  public record Optimizer(String kind, int slots, double slotBytes) {
    private static final Map<String, Double> MOMENTUM = Map.of("momentum", 0.9);

    /** Bytes of a value of blockwise 8-bit state: one, and an f32 scale for each 256. */
    public static final double EIGHT_BIT = 1 + 4.0 / 256;

    /** No optimizer: the model is stored and served. */
    public static final Optimizer NONE = new Optimizer("none", 0, Float.BYTES);

    public Optimizer {
      check("slots", slots, 0, 8);
      check("slot bytes", slotBytes, 0.0, 8.0);
    }

    /**
     * The optimizer of this name with f32 state.
     *
     * @param kind none, momentum (sgd with it), or a kind that the server knows
     * @throws IllegalArgumentException if it is none of these
     */
    public static Optimizer of(String kind) {
      return switch (kind) {
        case "none" -> NONE;
        case "momentum" -> of(kind, io.tensorhold.numerics.Optimizer.of("sgd", MOMENTUM));
        default -> of(kind, io.tensorhold.numerics.Optimizer.of(kind, Map.of()));
      };
    }

    /** A server's optimizer, under a name, with f32 state. */
    public static Optimizer of(String kind, io.tensorhold.numerics.Optimizer optimizer) {
      return new Optimizer(kind, optimizer.slots(), (double) Float.BYTES / optimizer.row());
    }

    /** The same with its state in another codec. */
    public Optimizer with(StateCodec codec) {
      return codec == StateCodec.F32 ? this : new Optimizer(kind, slots, codec.bytesPerValue());
    }

    /** The same with blockwise 8-bit state. */
    public Optimizer eightBit() {
      return new Optimizer(kind, slots, EIGHT_BIT);
    }

    /** Bytes of state an element. */
    public double bytesPerElement() {
      return slots * slotBytes;
    }
  }

  /**
   * How the cluster stores the model.
   *
   * @param servers processes, each with its own disk and memory
   * @param replicas copies of each shard, each on another server
   * @param shards logical partitions of the cluster
   * @param blockElements elements of a block
   * @param versions sealed versions kept beside the current state
   * @param changedShare share of the blocks that changes between two versions, 0 to 1
   * @param spaceAmplification bytes that RocksDB keeps on disk for each live byte: what compaction
   *     has not yet dropped. 1.25 is leveled compaction's 1.11 and room for a compaction under way
   * @param logBytesPerShard Raft log kept on disk by each replica of a shard until it is purged;
   *     four segments of 128 MiB by default
   * @param memoryShare share of the stored bytes that the memory tier is to hold, 0 to 1
   */
  public record Storage(
      int servers,
      int replicas,
      int shards,
      int blockElements,
      int versions,
      double changedShare,
      double spaceAmplification,
      long logBytesPerShard,
      double memoryShare) {
    /** One server, one copy, eight shards, the whole model in memory. */
    public static final Storage DEFAULT =
        new Storage(1, 1, 8, Blocks.DEFAULT_ELEMENTS, 0, 1, 1.25, 512L << 20, 1);

    public Storage {
      check("servers", servers, 1, 100_000);
      check("replicas", replicas, 1, 9);
      check("shards", shards, 1, 256);
      check("block elements", blockElements, Blocks.MULTIPLE, Integer.MAX_VALUE);
      check("versions", versions, 0, 1_000_000);
      check("changed share", changedShare, 0.0, 1.0);
      check("space amplification", spaceAmplification, 1.0, 100.0);
      check("log bytes per shard", logBytesPerShard, 0, 1L << 50);
      check("memory share", memoryShare, 0.0, 1.0);
      if (replicas > servers) {
        throw new IllegalArgumentException(
            "replicas=" + replicas + " exceed servers=" + servers + ": each needs its own");
      }
      if (blockElements % Blocks.MULTIPLE != 0) {
        throw new IllegalArgumentException(
            "block elements=" + blockElements + ", allowed are multiples of " + Blocks.MULTIPLE);
      }
    }

    /** The same on so many servers with so many copies. */
    public Storage on(int otherServers, int otherReplicas) {
      return new Storage(
          otherServers,
          otherReplicas,
          shards,
          blockElements,
          versions,
          changedShare,
          spaceAmplification,
          logBytesPerShard,
          memoryShare);
    }
  }

  /** What is kept of a layer's activations for the backward pass. */
  public enum Recomputation {
    /** Everything: sbh(34 + 5as/h) bytes. */
    NONE,
    /** Everything but the attention scores: 34sbh bytes. */
    SELECTIVE,
    /** The layer's input only: 2sbh bytes. */
    FULL
  }

  /**
   * How the workers train, data-parallel.
   *
   * @param weightBytes bytes a weight has on a worker: 2 in mixed precision, 4 in f32
   * @param gradientBytes bytes of a gradient: 2 or 4
   * @param masterBytes bytes of the optimizer's own copy of a weight: 4 in mixed precision, 0 for
   *     none
   * @param zeroStage 0 none, 1 optimizer state, 2 and gradients, 3 and weights divided over ranks
   * @param ranks data-parallel workers
   * @param batch sequences a worker has in one step
   * @param sequence tokens of a sequence
   */
  public record Training(
      int weightBytes,
      int gradientBytes,
      int masterBytes,
      int zeroStage,
      int ranks,
      long batch,
      long sequence,
      Recomputation recomputation) {
    /** Mixed precision on one worker, one sequence of 2048 tokens, nothing recomputed. */
    public static final Training DEFAULT = new Training(2, 2, 4, 0, 1, 1, 2048, Recomputation.NONE);

    public Training {
      check("weight bytes", weightBytes, 1, 8);
      check("gradient bytes", gradientBytes, 1, 8);
      check("master bytes", masterBytes, 0, 8);
      check("ZeRO stage", zeroStage, 0, 3);
      check("ranks", ranks, 1, 10_000_000);
      check("batch", batch, 1, 1_000_000);
      check("sequence", sequence, 1, 100_000_000);
    }

    /** The same with another ZeRO stage over so many ranks. */
    public Training zero(int stage, int overRanks) {
      return new Training(
          weightBytes,
          gradientBytes,
          masterBytes,
          stage,
          overRanks,
          batch,
          sequence,
          recomputation);
    }

    /** The same with other sequences. */
    public Training sequences(long otherBatch, long otherSequence, Recomputation other) {
      return new Training(
          weightBytes,
          gradientBytes,
          masterBytes,
          zeroStage,
          ranks,
          otherBatch,
          otherSequence,
          other);
    }
  }

  private static void check(String what, long value, long least, long most) {
    if (value < least || value > most) {
      throw outside(what, value, least, most);
    }
  }

  private static void check(String what, double value, double least, double most) {
    // Not "below or above": NaN is neither.
    if (!(value >= least && value <= most)) {
      throw outside(what, value, least, most);
    }
  }

  private static IllegalArgumentException outside(
      String what, Number value, Number least, Number most) {
    return new IllegalArgumentException(
        what + "=" + value + ", allowed are " + least + " to " + most);
  }
}
