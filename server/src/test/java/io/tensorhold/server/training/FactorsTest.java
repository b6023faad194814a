package io.tensorhold.server.training;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.BlockSums;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Norms;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.StragglerPolicy;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.HeldMemory;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import io.tensorhold.server.shard.Unit;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.wire.StepNeeds;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Two shards, and workers that carry the sums of one to the other, under random schedules: leaders
 * that die between a step's measuring and its commit, workers that die when one shard has made the
 * step and the other has not, and compute something else when they start again, ranks that are
 * late. Every step is made once on each shard, and with the same factors on both.
 */
class FactorsTest {
  private static final int SCHEDULES = 600;
  private static final int WORKERS = 3;
  private static final int STEPS = 5;
  private static final int ELEMENTS = 8;
  private static final double LIMIT = 0.5;
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  @TempDir private Path folder;
  private final List<TreeMap<Long, StepFactors>> made = List.of(new TreeMap<>(), new TreeMap<>());
  private final float[][] expected = new float[2][ELEMENTS];
  private final List<SimulatedShard> shards = new ArrayList<>();
  private final List<BspGate> gates = new ArrayList<>();
  private Random random = new Random(0);
  private long sessions;
  private boolean trust;
  private StragglerPolicy policy = StragglerPolicy.WAIT;
  private int steppedWithFewer;

  /** A worker, and the answers that it has of its step; null: none yet. */
  private static final class Sim {
    final int rank;
    long session;
    long seq;
    long step;

    /** Its step was made without it on a shard: it goes on with the next. */
    boolean closed;

    final @Nullable PushDone[] answers = new PushDone[2];
    final List<@Nullable CompletableFuture<PushDone>> asked = new ArrayList<>();
    final @Nullable StepFactors[] brought = new StepFactors[2];

    Sim(int rank) {
      this.rank = rank;
      asked.add(null);
      asked.add(null);
    }
  }

  private static float gradient(int shard, int rank, long step, long session, int element) {
    long seed = shard * 7919L + rank * 31L + step * 1009 + session * 100_003 + element;
    return new Random(seed).nextFloat() - 0.5f;
  }

  private void count(int shard, StepMark mark, PushCommand push) {
    StepFactors factors = Objects.requireNonNull(mark.factors());
    assertThat(made.get(shard).put(mark.step(), factors)).as("made once").isNull();
    steppedWithFewer += mark.pieces().size() < WORKERS ? 1 : 0;
    for (int i = 0; i < ELEMENTS; i++) {
      float sum = 0;
      for (int r = 0; r < mark.pieces().size(); r++) {
        long session = push.tags().get(r).session();
        float own = gradient(shard, mark.pieces().get(r).rank(), mark.step(), session, i);
        sum = r == 0 ? own : sum + own;
      }
      expected[shard][i] -= sum * (1f / mark.pieces().size()) * factors.gradientScale();
    }
  }

  private ParameterRecord parameter(long id) {
    Optimizer optimizer =
        trust ? Optimizer.of("lamb", Map.of()) : Optimizer.of("sgd", Map.of("lr", 1.0));
    UpdateRule rule =
        new UpdateRule(optimizer, Schedule.CONSTANT, 0, LIMIT, StateCodec.F32, Rounding.NEAREST);
    return new ParameterRecord(id, DType.F32, Codec.F32, 256 + ELEMENTS, 256, rule);
  }

  @Test
  void bothShardsMakeEveryStepOnceAndWithTheSameFactors() {
    run(false, StragglerPolicy.WAIT);
    run(false, StragglerPolicy.PROCEED);
    run(true, StragglerPolicy.WAIT);
  }

  private void run(boolean lamb, StragglerPolicy onStraggler) {
    trust = lamb;
    policy = onStraggler;
    steppedWithFewer = 0;
    shards.clear();
    for (int i = 0; i < 2; i++) {
      int own = i;
      Path data = folder.resolve(lamb + "-" + policy + "-" + i);
      shards.add(new SimulatedShard(data, (mark, push) -> count(own, mark, push)));
    }
    try {
      for (int seed = 1; seed <= SCHEDULES; seed++) {
        random = new Random(seed);
        for (int shard = 0; shard < 2; shard++) {
          made.get(shard).clear();
          expected[shard] = new float[ELEMENTS];
        }
        schedule(seed);
        assertThat(made.get(0)).as("seed %d", seed).hasSize(STEPS).isEqualTo(made.get(1));
        for (int shard = 0; shard < 2 && !lamb; shard++) {
          Unit unit = shards.get(shard).machine.read(parameter(seed), 1);
          float[] values = BlockLayout.weights(unit.memory()).toArray(F32);
          unit.release();
          assertThat(values).as("seed %d", seed).isEqualTo(expected[shard]);
        }
        for (SimulatedShard shard : shards) {
          shard.command(Entry.drop(seed, seed));
        }
      }
    } finally {
      shards.forEach(SimulatedShard::close);
    }
    assertThat(steppedWithFewer > 0).isEqualTo(policy == StragglerPolicy.PROCEED);
  }

  private void schedule(long model) {
    gates.clear();
    for (SimulatedShard shard : shards) {
      gates.add(
          new BspGate(
              new GradientRoom(1 << 20), Kernels.scalar(), shard, shard, () -> shard.nanos));
    }
    List<Sim> sims = Stream.of(0, 1, 2).map(Sim::new).toList();
    sims.forEach(sim -> restart(model, sim));
    for (int events = 0; closed(model) < STEPS; events++) {
      assertThat(events).as("model %d goes on", model).isLessThan(20_000);
      Sim sim = sims.get(random.nextInt(WORKERS));
      int shard = random.nextInt(2);
      switch (random.nextInt(40)) {
        case 0 -> {
          shards.get(shard).failOver(random.nextInt(2));
          Leadership now = new Leadership(true, "me", shards.get(shard).term, "leader");
          gates.get(shard).drop(now, SimulatedShard.lost());
          sims.forEach(one -> resend(model, one, shard));
        }
        case 1 -> restart(model, sim);
        case 2 -> resend(model, sim, shard);
        case 3 -> {
          shards.get(shard).nanos += 90_000_000;
          gates.get(shard).sweep();
        }
        case 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 -> {
          if (!shards.get(shard).idle()) {
            shards.get(shard).commit(true);
          }
        }
        default -> act(model, sim);
      }
    }
  }

  private long closed(long model) {
    return Math.min(
        shards.get(0).machine.closedStep(model), shards.get(1).machine.closedStep(model));
  }

  /** A retry on a new stream: only what has no answer. */
  private void resend(long model, Sim sim, int shard) {
    CompletableFuture<PushDone> asked = sim.asked.get(shard);
    boolean answered = asked != null && asked.isDone() && !asked.isCompletedExceptionally();
    if (asked != null && !answered) {
      send(model, sim, shard, sim.brought[shard], sim.answers[shard] != null);
    }
  }

  /**
   * Takes the answers that have come, and does what they ask for, as StepSums in data.proto says.
   */
  private void act(long model, Sim sim) {
    for (int shard = 0; shard < 2; shard++) {
      CompletableFuture<PushDone> asked = sim.asked.get(shard);
      if (asked == null || !asked.isDone()) {
        continue;
      }
      if (!asked.isCompletedExceptionally()) {
        sim.answers[shard] = asked.join();
        sim.asked.set(shard, null);
        continue;
      }
      Reason why = ((Refusal) asked.exceptionNow()).reason();
      switch (why) {
        case STEP_UNKNOWN -> send(model, sim, shard, sim.brought[shard], false);
        case NOT_LEADER, UNAVAILABLE -> resend(model, sim, shard);
        default -> {
          assertThat(why).as("rank %d, step %d", sim.rank, sim.step).isEqualTo(Reason.STEP_CLOSED);
          assertThat(policy).isEqualTo(StragglerPolicy.PROCEED);
          sim.closed = true;
          sim.asked.set(shard, null);
        }
      }
    }
    if (sim.asked.stream().allMatch(Objects::isNull)) {
      next(model, sim);
    }
  }

  private static boolean waits(PushDone answer) {
    return answer.sums() != null;
  }

  private static StepSums sums(PushDone answer) {
    return Objects.requireNonNull(answer.sums());
  }

  private static void begin(Sim sim) {
    sim.closed = false;
    for (int shard = 0; shard < 2; shard++) {
      sim.answers[shard] = null;
      sim.asked.set(shard, null);
    }
  }

  private void next(long model, Sim sim) {
    PushDone first = sim.answers[0];
    PushDone second = sim.answers[1];
    boolean begins = first == null && second == null && !sim.closed;
    if (begins || first == null || second == null || (!waits(first) && !waits(second))) {
      if (sim.step < STEPS) {
        sim.step = Math.max(sim.step + (begins ? 0 : 1), closed(model) + 1);
        begin(sim);
        send(model, sim, 0, null, false);
        send(model, sim, 1, null, false);
      }
      return;
    }
    if (!waits(first) || !waits(second)) {
      StepFactors known = (waits(first) ? second : first).factors();
      send(model, sim, waits(first) ? 0 : 1, Objects.requireNonNull(known), true);
      return;
    }
    List<BlockSums> sums = new ArrayList<>(sums(first).blocks());
    for (BlockSums block : sums(second).blocks()) {
      sums.add(new BlockSums(model, 2, block.gradient(), block.weights(), block.direction()));
    }
    float scale = Norms.clipCoefficient(BlockSums.total(sums, BlockSums::gradient), LIMIT);
    boolean again = false;
    for (int shard = 0; shard < 2 && trust; shard++) {
      if (sums(Objects.requireNonNull(sim.answers[shard])).gradientScale() != scale) {
        send(model, sim, shard, StepFactors.scale(scale), true);
        again = true;
      }
    }
    if (!again) {
      double weights = BlockSums.total(sums, BlockSums::weights);
      float ratio = Norms.trustRatio(weights, BlockSums.total(sums, BlockSums::direction));
      StepFactors factors = new StepFactors(scale, trust ? new float[] {ratio} : new float[0]);
      send(model, sim, 0, factors, true);
    }
  }

  private void send(
      long model, Sim sim, int shard, @Nullable StepFactors factors, boolean withoutPayload) {
    HeldMemory payload = HeldMemory.allocate(0, withoutPayload ? 0 : 4 * ELEMENTS);
    for (int i = 0; i < ELEMENTS && !withoutPayload; i++) {
      payload.content().set(F32, 4L * i, gradient(shard, sim.rank, sim.step, sim.session, i));
    }
    StepMark.Piece piece = new StepMark.Piece(sim.rank, (int) sim.session);
    StepMark mark = new StepMark(model, sim.step, 0, 1, true, List.of(piece));
    PushCommand push =
        new PushCommand(
            List.of(new Tag(sim.session, ++sim.seq, 1)),
            Operation.GRADIENT,
            List.of(new Part(model, 1, Codec.F32, 4 * ELEMENTS, new int[0])),
            payload);
    ModelSpec spec =
        ModelSpec.newBuilder()
            .setName("m")
            .setConsistency(Consistency.BSP)
            .setWorkers(WORKERS)
            .setOnStraggler(policy)
            .setStragglerTimeoutMs(100)
            .build();
    sim.brought[shard] = factors;
    sim.asked.set(
        shard,
        gates
            .get(shard)
            .contribute(
                new StepPush(
                    model,
                    spec,
                    shards.get(shard).term,
                    mark,
                    push,
                    Set.of(parameter(model)),
                    new StepNeeds(true, trust),
                    factors,
                    withoutPayload)));
    push.release();
  }

  /** kill -9 and a new start: a new session, the step that the shards know. */
  private void restart(long model, Sim sim) {
    sim.session = ++sessions;
    sim.seq = 0;
    for (int shard = 0; shard < 2; shard++) {
      WorkerSession live = WorkerSession.newBuilder().setSession(sim.session).build();
      shards.get(shard).live.put(sim.rank, live);
      shards.get(shard).command(Entry.claim(model, sim.rank, sim.session, true, 0));
    }
    begin(sim);
    sim.step = closed(model);
  }
}
