package io.tensorhold.server.training;

import io.tensorhold.numerics.BlockSums;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.RankSteps;
import io.tensorhold.proto.v1.ShardSteps;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.RankStep;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The steps of all models on one shard: its queue, and the gates that pushes of a step pass. */
final class ShardTrainer implements StepLog {
  private final ShardLog log;
  private final PushQueue queue;
  private final BspGate together;
  private final SspGate stale;
  private final Roster roster;
  private final LongSupplier nanos;
  private final LongAdder waitedTogether = new LongAdder();
  private CompletableFuture<?> lastCheckpoint = CompletableFuture.completedFuture(null);

  ShardTrainer(ShardLog log, GradientRoom room, Roster roster, LongSupplier nanos) {
    this.log = log;
    this.queue = new PushQueue(log);
    this.roster = roster;
    this.nanos = nanos;
    this.together = new BspGate(room, Kernels.best(), this, roster, nanos);
    this.stale = new SspGate(this, roster, nanos);
  }

  /**
   * Nanoseconds that pushes spent here waiting for other workers since the start, all together;
   * those of BSP with the writing of their step.
   */
  long waitedNanos() {
    return waitedTogether.sum() + stale.waitedNanos();
  }

  ShardLog log() {
    return log;
  }

  PushQueue queue() {
    return queue;
  }

  /** Makes a checkpoint when those before it have ended, well or not. */
  synchronized <T> CompletableFuture<T> checkpoint(Supplier<CompletableFuture<T>> checkpoint) {
    CompletableFuture<T> next =
        lastCheckpoint.handle((done, failure) -> done).thenCompose(before -> checkpoint.get());
    lastCheckpoint = next;
    return next;
  }

  @Override
  public CompletableFuture<PushDone> append(
      StepMark mark, PushCommand push, Set<ParameterRecord> parameters) {
    return queue.step(mark, push, parameters);
  }

  @Override
  public @Nullable Outcome objection(StepMark mark, PushCommand push) {
    return log.machine().objection(push, mark);
  }

  @Override
  public Map<Integer, RankStep> ranks(long model) {
    return log.machine().ranks(model);
  }

  @Override
  public List<BlockSums> measure(PushCommand push, Set<ParameterRecord> parameters) {
    return log.machine()
        .measure(
            push, parameters.stream().collect(Collectors.toMap(ParameterRecord::id, one -> one)));
  }

  @Override
  public @Nullable StepFactors factors(long model, long step) {
    return log.machine().factors(model, step);
  }

  /** Does a part of a rank's step. */
  CompletableFuture<PushDone> push(StepPush push) {
    return switch (push.spec().getConsistency()) {
      case BSP -> {
        long begun = nanos.getAsLong();
        yield together
            .contribute(push)
            .whenComplete((done, failure) -> waitedTogether.add(nanos.getAsLong() - begun));
      }
      case SSP -> stale.push(push).whenComplete((done, failure) -> stale.release(push.modelId()));
      default -> append(push.mark(), push.push(), push.parameters());
    };
  }

  /**
   * Makes a session the holder of its rank on this shard.
   *
   * @return the step after which it goes on here
   */
  CompletableFuture<Long> claim(Model model, WorkerSession worker) {
    long id = Trainer.stepModel(model);
    boolean bsp = model.getSpec().getConsistency() == Consistency.BSP;
    byte[] command =
        Entry.claim(id, worker.getRank(), worker.getSession(), bsp, base(model, worker.getRank()));
    CompletableFuture<PushDone> claimed = queue.command(command, Set.of(), 0);
    if (bsp) {
      return claimed.thenApply(done -> log.machine().closedStep(id));
    }
    long term = log.leadership().term();
    return claimed.thenCompose(
        done -> {
          RankStep step = ranks(id).get(worker.getRank());
          long clock = step == null ? 0 : step.clock();
          if (model.getSpec().getConsistency() != Consistency.SSP) {
            return CompletableFuture.completedFuture(clock);
          }
          StepPush last = StepPush.done(model, term, worker, id, clock);
          CompletableFuture<Long> answer = stale.hold(last, done).thenApply(may -> clock);
          stale.release(model.getId());
          return answer;
        });
  }

  /**
   * Where the clock of a newcomer begins. Where only live ranks count, they would have to wait
   * until it has caught up with all it was not there for; so it begins beside the slowest of them.
   */
  private long base(Model model, int rank) {
    if (model.getSpec().getConsistency() != Consistency.SSP || !SspGate.liveOnly(model.getSpec())) {
      return 0;
    }
    Map<Integer, RankStep> steps = ranks(Trainer.stepModel(model));
    return roster.of(model.getId()).keySet().stream()
        .filter(other -> other != rank && steps.containsKey(other))
        .mapToLong(other -> java.util.Objects.requireNonNull(steps.get(other)).clock())
        .min()
        .orElse(0);
  }

  /** What is known of a model's steps here. */
  ShardSteps status(Model model) {
    long id = Trainer.stepModel(model);
    ShardSteps.Builder status =
        ShardSteps.newBuilder()
            .setShard(log.shard())
            .setModelId(model.getId())
            .setClosedStep(log.machine().closedStep(id))
            .addAllWaits(together.waits(id))
            .addAllWaits(stale.waits(id));
    ranks(id)
        .forEach(
            (rank, step) ->
                status.addRanks(
                    RankSteps.newBuilder()
                        .setRank(rank)
                        .setSession(step.session())
                        .setLastStep(step.step())));
    return status.build();
  }

  void sweep() {
    Leadership now = log.leadership();
    Refusal refusal = Refusals.notLeader(now);
    together.drop(now, refusal);
    stale.drop(now, refusal);
    if (now.leads()) {
      together.sweep();
      stale.sweep();
    }
  }
}
