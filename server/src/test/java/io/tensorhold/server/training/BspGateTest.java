package io.tensorhold.server.training;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.StragglerPolicy;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.HeldMemory;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.StepMark;
import io.tensorhold.server.shard.Unit;
import io.tensorhold.server.store.BlockLayout;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The gate and the real shard core under random schedules: ranks that come in any order and twice,
 * leaders that die with the step in flight, workers that are killed and start again, ranks that are
 * late. What the shard ends with is held against a few lines of plain Java that know who was in
 * each step, and nothing else.
 */
class BspGateTest {
  private static final int SCHEDULES = 2000;
  private static final int WORKERS = 4;
  private static final int STEPS = 6;
  private static final int ELEMENTS = 8;
  private static final int TIMEOUT_MS = 100;
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  @TempDir private Path folder;
  private Random random = new Random(0);
  private long sessions;
  private float[] expected = new float[ELEMENTS];
  private final Map<Long, Integer> inStep = new TreeMap<>();

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

  /** A rank's gradient: it differs with the session too, as that of a restarted worker does. */
  private static float gradient(int rank, long step, long session, int element) {
    return new Random(rank * 31L + step * 1009 + session * 100_003 + element).nextFloat() - 0.5f;
  }

  private void count(StepMark mark, PushCommand push) {
    assertThat(inStep.put(mark.step(), mark.pieces().size())).as("made once").isNull();
    for (int i = 0; i < ELEMENTS; i++) {
      float sum = 0;
      for (int r = 0; r < mark.pieces().size(); r++) {
        float own =
            gradient(mark.pieces().get(r).rank(), mark.step(), push.tags().get(r).session(), i);
        sum = r == 0 ? own : sum + own;
      }
      expected[i] -= sum * (1f / mark.pieces().size());
    }
  }

  private static ModelSpec spec(StragglerPolicy policy) {
    return ModelSpec.newBuilder()
        .setName("m")
        .setConsistency(Consistency.BSP)
        .setWorkers(WORKERS)
        .setOnStraggler(policy)
        .setStragglerTimeoutMs(TIMEOUT_MS)
        .build();
  }

  private static ParameterRecord parameter(long id) {
    UpdateRule rule = UpdateRule.of(Optimizer.of("sgd", Map.of("lr", 1.0)));
    return new ParameterRecord(id, DType.F32, Codec.F32, ELEMENTS, 256, rule);
  }

  @Test
  void everyStepIsMadeOnceOfEachRankWhoeverDies() {
    run(StragglerPolicy.WAIT);
    run(StragglerPolicy.PROCEED);
  }

  private void run(StragglerPolicy policy) {
    try (SimulatedShard shard = new SimulatedShard(folder.resolve(policy.name()), this::count)) {
      int less = 0;
      long allocated = 0;
      for (int seed = 1; seed <= SCHEDULES; seed++) {
        random = new Random(seed);
        expected = new float[ELEMENTS];
        inStep.clear();
        schedule(shard, parameter(seed), spec(policy));
        Unit unit = shard.machine.read(parameter(seed), 0);
        float[] values = BlockLayout.weights(unit.memory()).toArray(F32);
        unit.release();
        assertThat(values).as("seed %d", seed).isEqualTo(expected);
        assertThat(inStep).as("seed %d", seed).hasSize(STEPS);
        if (policy == StragglerPolicy.WAIT) {
          assertThat(inStep.values()).as("seed %d", seed).containsOnly(WORKERS);
        }
        less += (int) inStep.values().stream().filter(n -> n < WORKERS).count();
        shard.command(Entry.drop(seed, seed));
        if (seed > 1) {
          assertThat(OffHeap.allocated()).as("bytes after seed %d", seed).isEqualTo(allocated);
        }
        allocated = OffHeap.allocated();
      }
      assertThat(less > 0).isEqualTo(policy == StragglerPolicy.PROCEED);
    }
  }

  private void schedule(SimulatedShard shard, ParameterRecord parameter, ModelSpec spec) {
    BspGate gate =
        new BspGate(new GradientRoom(1 << 20), Kernels.scalar(), shard, shard, () -> shard.nanos);
    Sim[] sims = new Sim[WORKERS];
    for (int rank = 0; rank < WORKERS; rank++) {
      sims[rank] = new Sim(rank);
      restart(shard, parameter, sims[rank]);
    }
    for (int events = 0; shard.machine.closedStep(parameter.id()) < STEPS; events++) {
      assertThat(events).as("model %d goes on", parameter.id()).isLessThan(5000);
      Sim sim = sims[random.nextInt(WORKERS)];
      switch (random.nextInt(30)) {
        case 0 -> {
          shard.failOver(random.nextInt(2));
          gate.drop(new Leadership(true, "me", shard.term, "leader"), SimulatedShard.lost());
          for (Sim one : sims) {
            boolean answered = one.waiting.isDone() && !one.waiting.isCompletedExceptionally();
            if (!answered && one.step > 0) {
              send(shard, gate, parameter, spec, one);
            }
          }
        }
        case 1 -> restart(shard, parameter, sim);
        case 2 -> {
          if (!sim.waiting.isDone()) {
            send(shard, gate, parameter, spec, sim); // a retry on a new stream
          }
        }
        case 3 -> {
          shard.nanos += 20_000_000;
          gate.sweep();
        }
        case 4, 5, 6, 7, 8, 9, 10 -> {
          if (!shard.idle()) {
            shard.commit(true);
          }
        }
        default -> next(shard, gate, parameter, spec, sim);
      }
    }
    while (!shard.idle()) {
      shard.commit(true);
    }
    gate.drop(new Leadership(false, null, shard.term, "follower"), SimulatedShard.lost());
  }

  private void next(
      SimulatedShard shard, BspGate gate, ParameterRecord parameter, ModelSpec spec, Sim sim) {
    if (!sim.waiting.isDone()) {
      return;
    }
    if (sim.waiting.isCompletedExceptionally()) {
      Throwable why = sim.waiting.exceptionNow();
      assertThat(why).isInstanceOf(Refusal.class);
      assertThat(((Refusal) why).reason())
          .as("model %d, rank %d, step %d: %s", parameter.id(), sim.rank, sim.step, why)
          .isIn(Reason.STEP_CLOSED, Reason.NOT_LEADER, Reason.UNAVAILABLE);
      sim.step = Math.max(sim.step, shard.machine.closedStep(parameter.id()));
    }
    if (sim.step < STEPS) {
      sim.step++;
      sim.seq++;
      send(shard, gate, parameter, spec, sim);
    }
  }

  private static void send(
      SimulatedShard shard, BspGate gate, ParameterRecord parameter, ModelSpec spec, Sim sim) {
    HeldMemory payload = HeldMemory.allocate(0, 4 * ELEMENTS);
    for (int i = 0; i < ELEMENTS; i++) {
      payload.content().set(F32, 4L * i, gradient(sim.rank, sim.step, sim.session, i));
    }
    StepMark.Piece piece = new StepMark.Piece(sim.rank, (int) sim.session);
    StepMark mark = new StepMark(parameter.id(), sim.step, 0, 1, true, List.of(piece));
    PushCommand push =
        new PushCommand(
            List.of(new Tag(sim.session, sim.seq, sim.seq)),
            Operation.GRADIENT,
            List.of(new Part(parameter.id(), 0, Codec.F32, 4 * ELEMENTS, new int[0])),
            payload);
    sim.waiting =
        gate.contribute(
            new StepPush(parameter.id(), spec, shard.term, mark, push, Set.of(parameter)));
    push.release();
  }

  /** kill -9 and a new start: a new session, the step that the shard knows. */
  private void restart(SimulatedShard shard, ParameterRecord parameter, Sim sim) {
    sim.session = ++sessions;
    sim.seq = 0;
    shard.live.put(sim.rank, WorkerSession.newBuilder().setSession(sim.session).build());
    shard.command(Entry.claim(parameter.id(), sim.rank, sim.session, true, 0));
    sim.step = shard.machine.closedStep(parameter.id());
    sim.waiting = CompletableFuture.completedFuture(null);
  }
}
