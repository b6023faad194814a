package io.tensorhold.server.training;

import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.RankStep;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.shard.StepMark;
import io.tensorhold.server.shard.Unit;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.server.training.Trainer.Checkpointed;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/** CHECKPOINTED models: pushes beside the log, and checkpoints into it. */
final class Checkpoints {
  private Checkpoints() {}

  /**
   * Refuses a push of a worker that believes in a former leader, whose overlay is gone.
   *
   * @param expectTerm 0: it has heard of none yet
   */
  static void requireTerm(
      ShardLog log, Model model, long term, long expectTerm, @Nullable WorkerSession worker) {
    if (expectTerm == 0 || expectTerm == term) {
      return;
    }
    ShardMachine machine = log.machine();
    machine.dropOverlay(term);
    RankStep survived =
        worker == null ? null : machine.ranks(Trainer.stepModel(model)).get(worker.getRank());
    long step = survived == null ? 0 : survived.step();
    throw new Refusal(
        Reason.OVERLAY_LOST,
        "the shard's leader changed (term %d to %d): pushes since the last checkpoint are lost; %s"
            .formatted(
                expectTerm,
                term,
                worker == null
                    ? "go back to it"
                    : "step %d of rank %d survived here: join again, and go on after lastStep"
                        .formatted(step, worker.getRank())),
        "expected-term",
        expectTerm,
        "term",
        term,
        "survived-step",
        step);
  }

  /** Does a push in the leader's memory alone. */
  static CompletableFuture<PushDone> push(
      ShardLog log,
      long term,
      long model,
      PushCommand push,
      @Nullable StepMark mark,
      Set<ParameterRecord> parameters) {
    Map<Long, ParameterRecord> known = new HashMap<>();
    parameters.forEach(parameter -> known.put(parameter.id(), parameter));
    return acknowledged(term, log.machine().overlay().push(term, model, push, mark, known));
  }

  /** The answer to a push whose outcome is known at once. */
  static CompletableFuture<PushDone> acknowledged(long term, Outcome outcome) {
    Refusal refusal = Refusals.of(outcome);
    if (refusal != null) {
      throw refusal;
    }
    return CompletableFuture.completedFuture(new PushDone(0, term, outcome == Outcome.DUPLICATE));
  }

  /**
   * Logs every block and every row of a model that changed since the last checkpoint, and then how
   * far the ranks had come with them, and which pushes they hold: what a crash in between leaves is
   * to be made again, and not missing. One at a time on a shard.
   */
  static CompletableFuture<Checkpointed> log(
      ShardLog log,
      PushQueue queue,
      long term,
      Model model,
      Map<Long, ParameterRecord> parameters) {
    int count = model.getSpec().getParametersCount();
    if (count == 0) {
      return CompletableFuture.completedFuture(new Checkpointed(0, 0, 0));
    }
    long first = model.getSpec().getParameters(0).getId();
    long last = model.getSpec().getParameters(count - 1).getId();
    ShardMachine machine = log.machine();
    NavigableMap<BlockKey, Unit> blocks;
    List<byte[]> pushes;
    synchronized (machine) { // blocks, rows, steps and pushes of one moment
      machine.rows().overlay().seal(term, first, last);
      blocks = machine.overlay().blocks(term, first, last);
      pushes = machine.overlayPushes().checkpoint(first);
    }
    List<CompletableFuture<PushDone>> commands = new ArrayList<>();
    long bytes = 0;
    for (Map.Entry<BlockKey, Unit> block : blocks.entrySet()) {
      BlockKey key = block.getKey();
      Unit unit = block.getValue();
      BlockLayout.seal(unit.memory());
      bytes += unit.memory().byteSize();
      commands.add(
          queue.command(
              Entry.put(key.parameter(), key.block(), unit.memory()),
              Set.of(Objects.requireNonNull(parameters.get(key.parameter()))),
              Math.min(unit.memory().byteSize(), Limits.TOUCHED_BYTES)));
    }
    RowCheckpoint sealed = new RowCheckpoint(log, queue, term, parameters);
    CompletableFuture<PushDone> before =
        sealed.run().thenApply(index -> new PushDone(index, term, false));
    for (byte[] entry : pushes) {
      before = before.thenCompose(done -> queue.command(entry, Set.of(), 0));
    }
    commands.add(before);
    long total = bytes;
    return CompletableFuture.allOf(commands.toArray(CompletableFuture[]::new))
        .thenApply(
            all -> {
              machine.overlay().logged(blocks);
              long index = commands.stream().mapToLong(c -> c.join().logIndex()).max().orElse(0);
              return new Checkpointed(index, blocks.size(), total + sealed.bytes());
            })
        .whenComplete((done, failure) -> blocks.values().forEach(Unit::release));
  }
}
