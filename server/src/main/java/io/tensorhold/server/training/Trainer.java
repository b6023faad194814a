package io.tensorhold.server.training;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.shard.Unit;
import io.tensorhold.server.store.BlockLayout;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** Takes checked pushes where their model's durability and consistency say. */
public final class Trainer implements AutoCloseable {
  private static final long SWEEP_MILLIS = 100;

  private final ClusterNode node;
  private final List<PushQueue> queues = new ArrayList<>();
  private final List<BspGate> gates = new ArrayList<>();
  private final ScheduledExecutorService sweeper =
      Executors.newSingleThreadScheduledExecutor(
          task -> {
            Thread thread = new Thread(task, "bsp-sweep");
            thread.setDaemon(true);
            return thread;
          });

  /** What a worker says of the step that a push belongs to. */
  public record Step(long step, int rank, int part) {}

  /** The totals of a checkpoint. */
  public record Checkpointed(long logIndex, int blocks, long bytes) {}

  /**
   * A trainer for all shards.
   *
   * @param bspBufferBytes that gradients waiting for other ranks may take, all shards together
   */
  public Trainer(ClusterNode node, long bspBufferBytes) {
    this.node = node;
    for (int shard = 0; shard < node.shardCount(); shard++) {
      queues.add(new PushQueue(node.shard(shard)));
      gates.add(new BspGate(bspBufferBytes / node.shardCount(), Kernels.best()));
    }
    var _ =
        sweeper.scheduleWithFixedDelay(
            this::sweep, SWEEP_MILLIS, SWEEP_MILLIS, TimeUnit.MILLISECONDS);
  }

  private void sweep() {
    for (int shard = 0; shard < gates.size(); shard++) {
      Leadership now = node.shard(shard).leadership();
      gates.get(shard).drop(now, notLeader(now));
    }
  }

  /** The refusal of a server that does not lead. */
  public static Refusal notLeader(Leadership leadership) {
    return new Refusal(
        Reason.NOT_LEADER,
        "this server does not lead the shard",
        "leader-id",
        leadership.leader() == null ? "" : leadership.leader());
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
    if (model.getSpec().getDurability() == Durability.CHECKPOINTED) {
      return overlay(log, leadership.term(), push, parameters, expectTerm);
    }
    boolean together =
        model.getSpec().getConsistency() == Consistency.BSP
            && push.operation() == PushCommand.Operation.GRADIENT;
    if (!together) {
      return queues.get(shard).push(push, parameters);
    }
    Tag tag = push.tags().getFirst();
    if (log.machine().applied(tag.session(), tag.seq())) {
      return CompletableFuture.completedFuture(new PushDone(0, leadership.term(), true));
    }
    return gates
        .get(shard)
        .contribute(
            new BspGate.Key(leadership.term(), model.getId(), step.step(), step.part()),
            model.getSpec().getWorkers(),
            step.rank(),
            push,
            parameters,
            queues.get(shard)::push);
  }

  private static CompletableFuture<PushDone> overlay(
      ShardLog log, long term, PushCommand push, Set<ParameterRecord> parameters, long expectTerm) {
    if (expectTerm != 0 && expectTerm != term) {
      throw new Refusal(
          Reason.OVERLAY_LOST,
          "the shard's leader changed (term %d to %d): pushes since the last checkpoint are lost; go back to it"
              .formatted(expectTerm, term),
          "expected-term",
          expectTerm,
          "term",
          term);
    }
    Map<Long, ParameterRecord> known = new HashMap<>();
    parameters.forEach(parameter -> known.put(parameter.id(), parameter));
    Outcome outcome = log.machine().pushToOverlay(term, push, known);
    if (outcome == Outcome.WINDOW_FULL) {
      throw new Refusal(
          Reason.LIMIT, "the session has too many pushes above acked_below: raise it");
    }
    return CompletableFuture.completedFuture(new PushDone(0, term, outcome == Outcome.DUPLICATE));
  }

  /** Logs every block of a model that changed since the last checkpoint on a shard. */
  public CompletableFuture<Checkpointed> checkpoint(
      Model model, int shard, Map<Long, ParameterRecord> parameters) {
    ShardLog log = node.shard(shard);
    Leadership leadership = log.leadership();
    if (!leadership.leads()) {
      throw notLeader(leadership);
    }
    int count = model.getSpec().getParametersCount();
    if (count == 0) {
      return CompletableFuture.completedFuture(new Checkpointed(0, 0, 0));
    }
    ShardMachine machine = log.machine();
    NavigableMap<BlockKey, Unit> blocks =
        machine.overlayBlocks(
            leadership.term(),
            model.getSpec().getParameters(0).getId(),
            model.getSpec().getParameters(count - 1).getId());
    List<CompletableFuture<PushDone>> puts = new ArrayList<>();
    long bytes = 0;
    for (Map.Entry<BlockKey, Unit> block : blocks.entrySet()) {
      BlockKey key = block.getKey();
      Unit unit = block.getValue();
      BlockLayout.seal(unit.memory());
      bytes += unit.memory().byteSize();
      puts.add(
          queues
              .get(shard)
              .command(
                  Entry.put(key.parameter(), key.block(), unit.memory()),
                  Set.of(java.util.Objects.requireNonNull(parameters.get(key.parameter()))),
                  Math.min(unit.memory().byteSize(), Limits.TOUCHED_BYTES)));
    }
    long total = bytes;
    return CompletableFuture.allOf(puts.toArray(CompletableFuture[]::new))
        .thenApply(
            all -> {
              machine.overlayLogged(blocks);
              long last = 0;
              for (CompletableFuture<PushDone> put : puts) {
                last = Math.max(last, put.join().logIndex());
              }
              return new Checkpointed(last, puts.size(), total);
            })
        .whenComplete((done, failure) -> blocks.values().forEach(Unit::release));
  }

  @Override
  public void close() {
    sweeper.shutdownNow();
  }
}
