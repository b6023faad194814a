package io.tensorhold.server.training;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.StragglerPolicy;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.StepMark;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The gate and the real shard core under random schedules: workers of all speeds, answers that come
 * late, leaders that die with entries in flight, workers that are killed and start again. The bound
 * is checked against clocks that the test keeps itself, from what the log applied.
 */
class SspGateTest {
  private static final int SCHEDULES = Integer.getInteger("tensorhold.ssp.schedules", 100_000);

  @TempDir private Path folder;
  private Random random = new Random(0);
  private long[] clocks = new long[0];
  private long sessions;
  private int widest;

  /** A worker: it sends a step, waits, sends the next. */
  private static final class Sim {
    final int rank;
    long session;
    long seq;
    long step;
    CompletableFuture<PushDone> waiting = CompletableFuture.completedFuture(null);

    Sim(int rank) {
      this.rank = rank;
    }
  }

  private void count(StepMark mark, PushCommand push) {
    int rank = mark.pieces().getFirst().rank();
    assertThat(mark.step()).as("each step once, in order").isEqualTo(clocks[rank] + 1);
    clocks[rank] = mark.step();
  }

  @Test
  void nobodyIsEverMoreThanTheStalenessAhead() {
    int[] widths = new int[5];
    try (SimulatedShard shard = new SimulatedShard(folder, this::count)) {
      for (int seed = 1; seed <= SCHEDULES; seed++) {
        random = new Random(seed);
        widest = 0;
        int staleness = 1 + random.nextInt(4);
        schedule(shard, seed, staleness);
        assertThat(widest).as("steps ahead, seed %d", seed).isLessThanOrEqualTo(staleness);
        if (widest == staleness) {
          widths[staleness]++;
        }
        shard.command(Entry.drop(seed, seed));
      }
    }
    // The bound is reached, not only kept.
    for (int staleness = 1; staleness < widths.length; staleness++) {
      assertThat(widths[staleness]).isPositive();
    }
  }

  private void schedule(SimulatedShard shard, long model, int staleness) {
    int workers = 2 + random.nextInt(3);
    int last = 3 + random.nextInt(6);
    ModelSpec spec =
        ModelSpec.newBuilder()
            .setName("m")
            .setConsistency(Consistency.SSP)
            .setWorkers(workers)
            .setStaleness(staleness)
            .setOnStraggler(StragglerPolicy.WAIT)
            .build();
    clocks = new long[workers];
    SspGate gate = new SspGate(shard, shard, () -> shard.nanos);
    Sim[] sims = new Sim[workers];
    for (int rank = 0; rank < workers; rank++) {
      sims[rank] = new Sim(rank);
      restart(shard, gate, sims[rank], spec, model);
    }
    int events = 0;
    while (!over(sims, last)) {
      assertThat(++events).as("seed %d goes on", model).isLessThan(5000);
      Sim sim = sims[random.nextInt(1 + random.nextInt(workers))]; // low ranks are faster
      switch (random.nextInt(40)) {
        case 0 -> failOver(shard, gate, sims, spec, model);
        case 1 -> restart(shard, gate, sim, spec, model);
        case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 -> {
          if (!shard.idle()) {
            shard.commit(true);
            gate.release(model);
          }
        }
        default -> {
          if (sim.waiting.isDone() && sim.step < last) {
            sim.step++;
            sim.seq++;
            send(shard, gate, sim, spec, model);
          }
        }
      }
      if (events % 50 == 0) {
        gate.sweep();
      }
    }
  }

  private static boolean over(Sim[] sims, int last) {
    for (Sim sim : sims) {
      if (sim.step < last || !sim.waiting.isDone()) {
        return false;
      }
    }
    return true;
  }

  private void send(SimulatedShard shard, SspGate gate, Sim sim, ModelSpec spec, long model) {
    long step = sim.step;
    StepMark.Piece piece = new StepMark.Piece(sim.rank, (int) sim.session);
    StepMark mark = new StepMark(model, step, 0, 1, false, List.of(piece));
    PushCommand push =
        new PushCommand(
            List.of(new Tag(sim.session, sim.seq, sim.seq)),
            Operation.GRADIENT,
            List.of(),
            MemorySegment.ofArray(new byte[0]));
    sim.waiting =
        gate.push(new StepPush(model, spec, shard.term, mark, push, Set.of()))
            .whenComplete(
                (done, failure) -> {
                  for (long clock : clocks) {
                    widest = failure == null ? (int) Math.max(widest, step - clock) : widest;
                  }
                });
  }

  private void failOver(
      SimulatedShard shard, SspGate gate, Sim[] sims, ModelSpec spec, long model) {
    shard.failOver(random.nextInt(4));
    gate.drop(
        new io.tensorhold.server.raft.Leadership(true, "me", shard.term, "leader"),
        SimulatedShard.lost());
    for (Sim sim : sims) {
      // In-flight futures of the dead leader never end; what waited at the gate has failed.
      boolean answered = sim.waiting.isDone() && !sim.waiting.isCompletedExceptionally();
      if (!answered && sim.seq > 0) {
        send(shard, gate, sim, spec, model);
      } else if (!answered) {
        restart(shard, gate, sim, spec, model);
      }
    }
  }

  /** kill -9 and a new start: a new session, the step that the shard knows. */
  private void restart(SimulatedShard shard, SspGate gate, Sim sim, ModelSpec spec, long model) {
    sim.session = ++sessions;
    sim.seq = 0;
    shard.live.put(sim.rank, WorkerSession.newBuilder().setSession(sim.session).build());
    shard.command(Entry.claim(model, sim.rank, sim.session, false, 0));
    var known = shard.machine.ranks(model).get(sim.rank);
    sim.step = known == null ? 0 : known.clock();
    Model as = Model.newBuilder().setId(model).setSpec(spec).build();
    WorkerSession worker =
        WorkerSession.newBuilder().setRank(sim.rank).setSession(sim.session).build();
    sim.waiting =
        gate.hold(StepPush.done(as, shard.term, worker, model, sim.step), new PushDone(0, 0, true));
  }

  @Test
  void refusalOfAnEarlyStepNamesTheSlowOne() {
    clocks = new long[2];
    try (SimulatedShard shard = new SimulatedShard(folder, this::count)) {
      ModelSpec spec =
          ModelSpec.newBuilder()
              .setConsistency(Consistency.SSP)
              .setWorkers(2)
              .setStaleness(1)
              .build();
      SspGate gate = new SspGate(shard, shard, () -> shard.nanos);
      Sim fast = new Sim(0);
      restart(shard, gate, fast, spec, 1);
      for (int i = 0; i < 2; i++) {
        fast.step++;
        fast.seq++;
        send(shard, gate, fast, spec, 1);
        shard.commit(true);
        gate.release(1);
      }
      assertThat(fast.waiting).isNotDone();
      fast.step++;
      fast.seq++;
      Throwable refused =
          org.assertj.core.api.Assertions.catchThrowable(() -> send(shard, gate, fast, spec, 1));
      assertThat(refused)
          .isInstanceOf(Refusal.class)
          .hasMessageContaining("rank 1 (no live session)");
    }
  }
}
