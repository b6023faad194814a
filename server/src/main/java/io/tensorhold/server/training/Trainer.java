package io.tensorhold.server.training;

import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ShardSteps;
import io.tensorhold.proto.v1.TrainingStatus;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.RowOverlay;
import io.tensorhold.server.shard.RowsCommand;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import io.tensorhold.wire.StepNeeds;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Takes checked pushes where their model's durability and consistency say. */
public final class Trainer implements AutoCloseable {
  private static final Logger logger = LoggerFactory.getLogger(Trainer.class);
  private static final long SWEEP_MILLIS = 100;

  private final ClusterNode node;
  private final List<ShardTrainer> shards = new ArrayList<>();
  private final Workers workers;
  private final ScheduledExecutorService sweeper =
      Executors.newSingleThreadScheduledExecutor(
          task -> {
            Thread thread = new Thread(task, "training-sweep");
            thread.setDaemon(true);
            return thread;
          });

  /**
   * What a worker says of the step that a push belongs to.
   *
   * @param crc CRC-32C that tells the payload from another
   * @param needs of the model
   * @param factors that it brings; null: none
   * @param withoutPayload the payload came before
   */
  public record Step(
      long step,
      int rank,
      int part,
      int parts,
      int crc,
      StepNeeds needs,
      @Nullable StepFactors factors,
      boolean withoutPayload) {
    /** Of a push that is part of no step. */
    public static final Step NONE = new Step(0, 0, 0, 0, 0, StepNeeds.NONE, null, false);
  }

  /**
   * How far a rank has come on a shard.
   *
   * @param term of the leader that says so; what a CHECKPOINTED model has beyond its last
   *     checkpoint is gone with it
   */
  public record Claimed(long lastStep, long term) {}

  /** The totals of a checkpoint. */
  public record Checkpointed(long logIndex, int blocks, long bytes) {}

  /**
   * A trainer for all shards.
   *
   * @param bspBufferBytes that gradients waiting for other ranks may take, all shards together
   */
  public Trainer(ClusterNode node, long bspBufferBytes) {
    this.node = node;
    this.workers = new Workers(node.catalog(), System::nanoTime);
    GradientRoom room = new GradientRoom(bspBufferBytes);
    for (int shard = 0; shard < node.shardCount(); shard++) {
      shards.add(new ShardTrainer(node.shard(shard), room, workers, System::nanoTime));
    }
    var _ =
        sweeper.scheduleWithFixedDelay(
            this::sweep, SWEEP_MILLIS, SWEEP_MILLIS, TimeUnit.MILLISECONDS);
  }

  private void sweep() {
    for (ShardTrainer shard : shards) {
      try {
        shard.sweep();
      } catch (Refusal replaced) {
        logger.debug("shard {}: {}", shard.log().shard(), replaced.text());
      } catch (RuntimeException e) {
        logger.error("the steps of shard {} could not be looked after", shard.log().shard(), e);
      }
    }
    try {
      workers.sweep();
    } catch (RuntimeException e) {
      logger.error("leases could not be looked after", e);
    }
  }

  /** Milliseconds that pushes have waited for other workers since the start, all together. */
  public long waitedMillis() {
    long nanos = shards.stream().mapToLong(ShardTrainer::waitedNanos).sum();
    return TimeUnit.NANOSECONDS.toMillis(nanos);
  }

  /** The live workers. */
  public Workers workers() {
    return workers;
  }

  /** The refusal of a server that does not lead. */
  public static Refusal notLeader(Leadership leadership) {
    return Refusals.notLeader(leadership);
  }

  /**
   * Does a push whose parts were checked against their parameters.
   *
   * @param expectTerm the term that the worker believes in; 0: any
   */
  public CompletableFuture<PushDone> push(
      Model model,
      int shard,
      PushCommand push,
      Set<ParameterRecord> parameters,
      Step step,
      long expectTerm) {
    ShardLog log = node.shard(shard);
    Leadership leadership = log.leadership();
    if (!leadership.leads()) {
      throw notLeader(leadership);
    }
    workers.refuseEnded(push.tags().getFirst().session());
    WorkerSession worker =
        push.operation() == PushCommand.Operation.GRADIENT
            ? workerOf(model, push.tags().getFirst().session())
            : null;
    StepMark mark = worker == null ? null : mark(model, worker, step);
    if (model.getSpec().getDurability() == Durability.CHECKPOINTED) {
      Checkpoints.requireTerm(log, model, leadership.term(), expectTerm, worker);
      return Checkpoints.push(log, leadership.term(), stepModel(model), push, mark, parameters);
    }
    return mark == null
        ? shards.get(shard).queue().push(push, parameters)
        : shards
            .get(shard)
            .push(
                new StepPush(
                    model.getId(),
                    model.getSpec(),
                    leadership.term(),
                    mark,
                    push,
                    parameters,
                    step.needs(),
                    step.factors(),
                    step.withoutPayload()));
  }

  /**
   * Does a push of rows that was checked against its table.
   *
   * @param step of the worker that it is a part of; {@link Step#NONE}: of none
   * @param expectTerm the term that the worker believes in; 0: any
   */
  public CompletableFuture<PushDone> pushRows(
      Model model, int shard, RowsCommand push, ParameterRecord table, Step step, long expectTerm) {
    ShardLog log = node.shard(shard);
    Leadership leadership = log.leadership();
    if (!leadership.leads()) {
      throw notLeader(leadership);
    }
    long session = push.tag().session();
    workers.refuseEnded(session);
    WorkerSession worker = joined(model, session);
    StepMark mark = null;
    if (!step.equals(Step.NONE)) {
      if (worker == null) {
        throw notJoined(model, session);
      }
      mark = mark(model, worker, step);
    }
    long term = leadership.term();
    if (model.getSpec().getDurability() == Durability.CHECKPOINTED) {
      Checkpoints.requireTerm(log, model, term, expectTerm, worker);
      RowOverlay overlay = log.machine().rows().overlay();
      return Checkpoints.acknowledged(
          term, overlay.push(term, stepModel(model), push, mark, table));
    }
    long touched = (long) push.keys().length * table.rowBytes();
    return shards.get(shard).queue().command(Entry.rows(mark, push), Set.of(table), touched);
  }

  /** The worker that a session is of a model; null: it has not joined it. */
  private @Nullable WorkerSession joined(Model model, long session) {
    WorkerSession worker = node.catalog().state().worker(session);
    return worker != null && worker.getModelId() == model.getId() ? worker : null;
  }

  /**
   * The worker whose steps are counted; null: a gradient of an asynchronous model, like any push.
   */
  private @Nullable WorkerSession workerOf(Model model, long session) {
    WorkerSession worker = joined(model, session);
    if (worker == null && model.getSpec().getConsistency() != Consistency.ASP) {
      throw notJoined(model, session);
    }
    return worker;
  }

  private static Refusal notJoined(Model model, long session) {
    return new Refusal(
        Reason.SESSION_UNKNOWN,
        "session %s has not joined model \"%s\", whose steps are those of its workers: join it"
            .formatted(Long.toUnsignedString(session), model.getSpec().getName()),
        "value",
        Long.toUnsignedString(session));
  }

  private static StepMark mark(Model model, WorkerSession worker, Step step) {
    if (step.rank() != worker.getRank()) {
      throw new Refusal(
          Reason.RANK_INVALID,
          "session %s is rank %d of model \"%s\": value=%d"
              .formatted(
                  Long.toUnsignedString(worker.getSession()),
                  worker.getRank(),
                  model.getSpec().getName(),
                  Integer.toUnsignedLong(step.rank())),
          "value",
          Integer.toUnsignedLong(step.rank()),
          "expected",
          worker.getRank());
    }
    int parts = step.parts() == 0 ? 1 : step.parts();
    if (step.step() < 1
        || Integer.compareUnsigned(parts, Limits.STEP_PARTS) > 0
        || Integer.compareUnsigned(step.part(), parts) >= 0) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "a worker's gradient says its step, from 1, and its part of 1 to %d: step=%d part=%d parts=%d"
              .formatted(
                  Limits.STEP_PARTS,
                  step.step(),
                  Integer.toUnsignedLong(step.part()),
                  Integer.toUnsignedLong(parts)),
          "value",
          step.step());
    }
    return new StepMark(
        stepModel(model),
        step.step(),
        step.part(),
        parts,
        model.getSpec().getConsistency() == Consistency.BSP,
        List.of(new StepMark.Piece(step.rank(), step.crc())));
  }

  /** The number by which a shard knows the steps of a model: see {@link StepMark}. */
  static long stepModel(Model model) {
    return model.getSpec().getParametersCount() == 0 ? 0 : model.getSpec().getParameters(0).getId();
  }

  /**
   * Makes a worker's session the holder of its rank on a shard.
   *
   * @return the last step that the shard has of the rank, and in which term
   */
  public CompletableFuture<Claimed> claim(Model model, int shard, long session) {
    Leadership leadership = node.shard(shard).leadership();
    if (!leadership.leads()) {
      throw notLeader(leadership);
    }
    WorkerSession worker = workers.require(session);
    if (worker.getModelId() != model.getId()) {
      throw new Refusal(
          Reason.SESSION_UNKNOWN,
          "session %s has joined another model".formatted(Long.toUnsignedString(session)),
          "value",
          Long.toUnsignedString(session));
    }
    node.shard(shard).machine().dropOverlay(leadership.term());
    return node.shard(shard)
        .fence()
        .thenCompose(led -> shards.get(shard).claim(model, worker))
        .thenApply(step -> new Claimed(step, leadership.term()));
  }

  /** What this server knows of the training of a model, or of all for 0. */
  public TrainingStatus status(long modelId) {
    TrainingStatus.Builder status =
        TrainingStatus.newBuilder().addAllSessions(workers.sessions(modelId));
    for (Model model : node.catalog().state().ready()) {
      boolean asked = modelId == 0 || model.getId() == modelId;
      for (int shard = 0; asked && shard < shards.size(); shard++) {
        if (node.shard(shard).leadership().leads()) {
          ShardSteps steps = shards.get(shard).status(model);
          if (steps.getRanksCount() + steps.getWaitsCount() > 0) {
            status.addShards(steps);
          }
        }
      }
    }
    return status.build();
  }

  /** Logs what changed of a model since the last checkpoint on a shard. */
  public CompletableFuture<Checkpointed> checkpoint(
      Model model, int shard, Map<Long, ParameterRecord> parameters) {
    Leadership leadership = node.shard(shard).leadership();
    if (!leadership.leads()) {
      throw notLeader(leadership);
    }
    ShardTrainer trainer = shards.get(shard);
    return trainer.checkpoint(
        () ->
            Checkpoints.log(
                node.shard(shard), trainer.queue(), leadership.term(), model, parameters));
  }

  @Override
  public void close() {
    sweeper.shutdownNow();
  }
}
