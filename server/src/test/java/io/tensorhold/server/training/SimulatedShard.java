package io.tensorhold.server.training;

import io.tensorhold.numerics.BlockSums;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.EntryBytes;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.RankStep;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiConsumer;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * A shard without threads, network or clock: entries wait in a queue until the test commits them,
 * or loses them with their leader. The machine is the real one.
 */
final class SimulatedShard implements StepLog, Roster, AutoCloseable {
  private record InFlight(
      StepMark mark, PushCommand push, EntryBytes entry, CompletableFuture<PushDone> done) {}

  private final SharedRocks rocks = new SharedRocks(1 << 20);
  private final ShardStore store;
  final ShardMachine machine;
  private final ArrayDeque<InFlight> inFlight = new ArrayDeque<>();
  private final BiConsumer<StepMark, PushCommand> applied;
  private final Set<ParameterRecord> registered = new java.util.HashSet<>();
  final Map<Integer, WorkerSession> live = new HashMap<>();
  long term = 1;
  long nanos;
  private long index;

  SimulatedShard(Path folder, BiConsumer<StepMark, PushCommand> applied) {
    store = new ShardStore(folder.resolve("db"), folder.resolve("staging"), rocks);
    machine = new ShardMachine(0, store, 16 << 20, Kernels.best());
    this.applied = applied;
  }

  @Override
  public CompletableFuture<PushDone> append(
      StepMark mark, PushCommand push, Set<ParameterRecord> parameters) {
    for (ParameterRecord parameter : parameters) {
      if (registered.add(parameter)) {
        command(Entry.register(parameter));
      }
    }
    InFlight entry =
        new InFlight(mark, push, EntryBytes.step(mark, push), new CompletableFuture<>());
    inFlight.add(entry);
    return entry.done;
  }

  Outcome command(byte[] command) {
    byte[] entry = Entry.of(List.of(command));
    return Outcome.of(machine.apply(term, index++, ByteBuffer.wrap(entry))[0]);
  }

  boolean idle() {
    return inFlight.isEmpty();
  }

  /** Commits and answers the oldest entry; {@code answered}: the leader lives to say so. */
  void commit(boolean answered) {
    InFlight entry = inFlight.remove();
    Outcome outcome = Outcome.of(machine.apply(term, index, entry.entry.buffer())[0]);
    entry.entry.release();
    if (outcome == Outcome.APPLIED) {
      applied.accept(entry.mark, entry.push);
    }
    long at = index++;
    if (!answered) {
      entry.done.completeExceptionally(lost());
      return;
    }
    Refusal refusal = Refusals.of(outcome);
    if (refusal != null) {
      entry.done.completeExceptionally(refusal);
    } else {
      entry.done.complete(new PushDone(at, term, outcome == Outcome.DUPLICATE));
    }
  }

  /** The leader dies: some of what it sent is committed all the same, nobody is told. */
  void failOver(int committed) {
    for (int i = 0; i < committed && !inFlight.isEmpty(); i++) {
      commit(false);
    }
    while (!inFlight.isEmpty()) {
      InFlight entry = inFlight.remove();
      entry.entry.release();
      entry.done.completeExceptionally(lost());
    }
    term++;
  }

  static Refusal lost() {
    return new Refusal(Reason.NOT_LEADER, "the leader is gone");
  }

  @Override
  public Outcome objection(StepMark mark, PushCommand push) {
    return machine.objection(push, mark);
  }

  @Override
  public Map<Integer, RankStep> ranks(long model) {
    return machine.ranks(model);
  }

  @Override
  public List<BlockSums> measure(PushCommand push, Set<ParameterRecord> parameters) {
    return machine.measure(
        push, parameters.stream().collect(Collectors.toMap(ParameterRecord::id, one -> one)));
  }

  @Override
  public @Nullable StepFactors factors(long model, long step) {
    return machine.factors(model, step);
  }

  @Override
  public Map<Integer, WorkerSession> of(long modelId) {
    return live;
  }

  @Override
  public void close() {
    machine.close();
    store.close();
    rocks.close();
  }
}
