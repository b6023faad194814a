package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

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
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Factors;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a shard does with schedules, clipping, groups of state, and sums over blocks. */
class OptimizerShardTest {
  private static final int BLOCK = 512;
  private static final int ELEMENTS = 800; // a block, and a shorter one
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  @TempDir private Path folder;
  private SharedRocks rocks = new SharedRocks(4 << 20);
  private ShardStore store;
  private ShardMachine machine;
  private long index;
  private final Random random = new Random(1);

  @BeforeEach
  void start() {
    store = new ShardStore(folder.resolve("db"), folder.resolve("staging"), rocks);
    machine = new ShardMachine(0, store, 64 << 20, Kernels.best());
  }

  @AfterEach
  void stop() {
    machine.close();
    store.close();
    rocks.close();
  }

  private static UpdateRule rule(
      String kind, Map<String, Double> hyper, double value, double norm) {
    Optimizer optimizer = Optimizer.of(kind, hyper);
    return new UpdateRule(
        optimizer, Schedule.CONSTANT, value, norm, StateCodec.F32, Rounding.NEAREST);
  }

  private ParameterRecord register(long id, Codec codec, UpdateRule rule) {
    ParameterRecord parameter = new ParameterRecord(id, DType.F32, codec, ELEMENTS, BLOCK, rule);
    assertThat(log(Entry.register(parameter))).isEqualTo(Outcome.APPLIED);
    return parameter;
  }

  private Outcome log(byte[] command) {
    byte[] done = machine.apply(1, index, ByteBuffer.wrap(Entry.of(List.of(command))));
    index++;
    return Outcome.of(done[0]);
  }

  private PushCommand push(Operation operation, ParameterRecord parameter, int block, float... x) {
    Part part = new Part(parameter.id(), block, Codec.F32, 4 * x.length, new int[0]);
    return push(operation, part, x);
  }

  private PushCommand push(Operation operation, Part part, float... x) {
    MemorySegment payload = MemorySegment.ofArray(new byte[4 * x.length]);
    MemorySegment.copy(x, 0, payload, F32, 0, x.length);
    return new PushCommand(List.of(new Tag(1, index + 1, 1)), operation, List.of(part), payload);
  }

  private float[] gaussian(int n) {
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) random.nextGaussian();
    }
    return x;
  }

  private float[] weights(ParameterRecord parameter, int block) {
    Unit unit = machine.read(parameter, block);
    float[] w = BlockLayout.weights(unit.memory()).toArray(F32);
    unit.release();
    return w;
  }

  @Test
  void factorsComeBackFromTheLog() {
    ParameterRecord parameter = register(1, Codec.F32, rule("lamb", Map.of(), 0, 1));
    PushCommand sent =
        push(Operation.GRADIENT, parameter, 1, gaussian(288))
            .with(new Factors(0.25f, new float[] {1.5f}));
    ByteBuffer entry = ByteBuffer.wrap(Entry.of(List.of(Entry.push(sent))));
    PushCommand read = ((Entry.Command.Push) Entry.read(entry).getFirst()).push();
    assertThat(read.operation()).isEqualTo(Operation.GRADIENT);
    assertThat(read.gradientScale()).isEqualTo(0.25f);
    assertThat(read.trust(0)).isEqualTo(1.5f);
    assertThat(read.payload().toArray(F32)).isEqualTo(sent.payload().toArray(F32));
  }

  @Test
  void aBlockThatNoPushHasReachedStartsFromTheInitialAccumulator() {
    for (StateCodec codec : StateCodec.values()) {
      UpdateRule rule =
          new UpdateRule(
              Optimizer.of("adagrad", Map.of("lr", 1.0, "initial_accumulator", 3.0, "eps", 0.0)),
              Schedule.CONSTANT,
              0,
              0,
              codec,
              Rounding.NEAREST);
      ParameterRecord parameter = register(10 + codec.id(), Codec.F32, rule);
      float[] g = new float[288];
      g[5] = 1;
      assertThat(log(Entry.push(push(Operation.GRADIENT, parameter, 1, g))))
          .isEqualTo(Outcome.APPLIED);
      assertThat(weights(parameter, 1)[5]).isEqualTo(-0.5f);
    }
  }

  @Test
  void theRateFollowsTheSchedule() {
    UpdateRule rule =
        new UpdateRule(
            Optimizer.of("sgd", Map.of("lr", 1.0)),
            Schedule.of("step", Map.of("size", 1.0, "gamma", 0.5, "warmup", 2.0)),
            0,
            0,
            StateCodec.F32,
            Rounding.NEAREST);
    ParameterRecord parameter = register(1, Codec.F32, rule);
    float[] g = new float[BLOCK];
    g[0] = 1;
    float[] factors = {0, 0.5f, 1, 0.5f, 0.25f};
    float w = 0;
    for (float factor : factors) {
      log(Entry.push(push(Operation.GRADIENT, parameter, 0, g)));
      w -= factor;
      assertThat(weights(parameter, 0)[0]).isEqualTo(w);
    }
  }

  @Test
  void gradientsAreClippedByValueThenByNorm() {
    ParameterRecord parameter = register(1, Codec.F32, rule("sgd", Map.of("lr", 1.0), 2, 1));
    float[] g = new float[BLOCK];
    g[0] = 100;
    g[1] = -1;
    PushCommand push = push(Operation.GRADIENT, parameter, 0, g);
    List<BlockSums> sums = machine.measure(push, Map.of(1L, parameter));
    assertThat(sums).containsExactly(new BlockSums(1, 0, 5, 0, 0));
    float scale = Norms.clipCoefficient(BlockSums.total(sums, BlockSums::gradient), 1);
    PushCommand known = push.with(new Factors(scale, new float[] {1}));
    assertThat(log(Entry.push(known))).isEqualTo(Outcome.APPLIED);
    assertThat(weights(parameter, 0)[0]).isEqualTo(-2 * scale);
    assertThat(weights(parameter, 0)[1]).isEqualTo(scale);
  }

  private static void check(ParameterRecord parameter, PushCommand push) {
    PartCheck.checkFactors("\"w\"", parameter, push.operation(), push.factors(), 0);
  }

  @Test
  void aStepThatNeedsSumsIsRefusedWithoutThem() {
    for (UpdateRule rule : List.of(rule("sgd", Map.of(), 0, 1), rule("lamb", Map.of(), 0, 0))) {
      ParameterRecord parameter = new ParameterRecord(5, DType.F32, Codec.F32, 800, 512, rule);
      PushCommand push = push(Operation.GRADIENT, parameter, 0, gaussian(BLOCK));
      assertThatThrownBy(() -> check(parameter, push))
          .isInstanceOfSatisfying(
              Refusal.class, r -> assertThat(r.reason()).isEqualTo(Reason.OPTIMIZER_INVALID))
          .hasMessageContaining("the push carries no factors");
      PushCommand wrong = push.with(new Factors(Float.NaN, new float[] {1}));
      assertThatThrownBy(() -> check(parameter, wrong))
          .isInstanceOf(Refusal.class)
          .hasMessageContaining("gradient scale value=NaN allowed=above 0, to 1");
    }
    ParameterRecord parameter = register(6, Codec.F32, rule("lamb", Map.of(), 0, 0));
    PushCommand push = push(Operation.GRADIENT, parameter, 0, gaussian(BLOCK));
    assertThat(log(Entry.push(push))).isEqualTo(Outcome.INVALID);
    assertThat(weights(parameter, 0)).containsOnly(0);
  }

  /** LAMB over two blocks against the paper's formulas over the whole tensor, in f64. */
  @Test
  void trustRatiosOfAllBlocksMakeLamb() {
    Map<String, Double> hyper = Map.of("lr", 0.1, "weight_decay", 0.05);
    ParameterRecord parameter = register(1, Codec.F32, rule("lamb", hyper, 0, 0));
    float[] start = gaussian(ELEMENTS);
    for (int block = 0; block < 2; block++) {
      log(Entry.push(push(Operation.ASSIGN, parameter, block, block(start, block))));
    }
    double[] w = new double[ELEMENTS];
    double[] m = new double[ELEMENTS];
    double[] v = new double[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) {
      w[i] = start[i];
    }
    for (int step = 1; step <= 20; step++) {
      float[] g = gaussian(ELEMENTS);
      double trust = lamb(step, g, w, m, v);
      List<BlockSums> sums = new java.util.ArrayList<>();
      for (int block = 0; block < 2; block++) {
        PushCommand push = push(Operation.GRADIENT, parameter, block, block(g, block));
        long before = machine.checksum();
        sums.addAll(machine.measure(push, Map.of(1L, parameter)));
        assertThat(machine.checksum()).isEqualTo(before);
      }
      float ratio =
          Norms.trustRatio(
              BlockSums.total(sums, BlockSums::weights),
              BlockSums.total(sums, BlockSums::direction));
      assertThat((double) ratio).isCloseTo(trust, within(1e-5 * trust));
      for (int block = 0; block < 2; block++) {
        PushCommand push = push(Operation.GRADIENT, parameter, block, block(g, block));
        log(Entry.push(push.with(new Factors(1, new float[] {ratio}))));
      }
    }
    for (int i = 0; i < BLOCK; i++) {
      assertThat((double) weights(parameter, 0)[i]).isCloseTo(w[i], within(2e-5));
    }
  }

  private static float[] block(float[] x, int block) {
    return java.util.Arrays.copyOfRange(x, block * BLOCK, Math.min(ELEMENTS, (block + 1) * BLOCK));
  }

  private static double lamb(int step, float[] g, double[] w, double[] m, double[] v) {
    double[] u = new double[ELEMENTS];
    double weights = 0;
    double directions = 0;
    for (int i = 0; i < ELEMENTS; i++) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      double mean = m[i] / (1 - Math.pow(0.9, step));
      u[i] = mean / (Math.sqrt(v[i] / (1 - Math.pow(0.999, step))) + 1e-6) + 0.05 * w[i];
      weights += w[i] * w[i];
      directions += u[i] * u[i];
    }
    double trust = Math.sqrt(weights / directions);
    for (int i = 0; i < ELEMENTS; i++) {
      w[i] -= 0.1 * trust * u[i];
    }
    return trust;
  }

  @Test
  void partsOfABlockNameWholeRowsAndWholeBlocksOfNorms() {
    ParameterRecord rows = register(1, Codec.F32, rule("adagrad_row", Map.of("row", 32.0), 0, 0));
    Part good = new Part(1, 0, Codec.F32, 4 * 64, new int[] {32, 64});
    assertThat(log(Entry.push(push(Operation.GRADIENT, good, gaussian(64)))))
        .isEqualTo(Outcome.APPLIED);
    Part torn = new Part(1, 0, Codec.F32, 4 * 64, new int[] {31, 64});
    assertThatThrownBy(() -> PartCheck.check("\"w\"", rows, Operation.GRADIENT, torn))
        .hasMessageContaining("takes whole rows of 32 elements: run 0 of block 0 is 31 to 95");
    ParameterRecord lamb = register(2, Codec.F32, rule("lamb", Map.of(), 0, 0));
    Part part = new Part(2, 0, Codec.F32, 4 * 64, new int[] {32, 64});
    assertThatThrownBy(() -> PartCheck.check("\"w\"", lamb, Operation.GRADIENT, part))
        .hasMessageContaining("send block 0 whole");
  }

  @Test
  void eightBitAdamTakesAtMostSixPointOneBytesAnElement() {
    UpdateRule rule =
        new UpdateRule(
            Optimizer.of("adam", Map.of()),
            Schedule.CONSTANT,
            0,
            0,
            StateCodec.FLOAT8,
            Rounding.NEAREST);
    ParameterRecord parameter =
        new ParameterRecord(1, DType.F32, Codec.F32, 1 << 18, 1 << 18, rule);
    assertThat(parameter.blockBytes(0) / (double) (1 << 18)).isLessThanOrEqualTo(4 + 2.1);
  }

  /**
   * Stochastically rounded bf16 follows steps too small for its mantissa; rounded to nearest not.
   */
  @Test
  void smallStepsOfBf16WeightsAreNotLostWhenRoundedStochastically() {
    float[] end = new float[2];
    for (Rounding rounding : Rounding.values()) {
      UpdateRule rule =
          new UpdateRule(
              Optimizer.of("sgd", Map.of("lr", 1e-4)),
              Schedule.CONSTANT,
              0,
              0,
              StateCodec.F32,
              rounding);
      ParameterRecord parameter = register(1 + rounding.id(), Codec.BF16, rule);
      float[] one = new float[BLOCK];
      java.util.Arrays.fill(one, 1);
      log(Entry.push(push(Operation.ASSIGN, parameter, 0, one)));
      for (int step = 0; step < 500; step++) {
        log(Entry.push(push(Operation.GRADIENT, parameter, 0, one)));
      }
      Unit unit = machine.read(parameter, 0);
      MemorySegment f32 = MemorySegment.ofArray(new byte[4 * BLOCK]);
      Codec.BF16.decode(Kernels.best(), BlockLayout.weights(unit.memory()), 0, f32, 0, BLOCK);
      unit.release();
      double mean = 0;
      for (float value : f32.toArray(F32)) {
        mean += value / BLOCK;
      }
      end[rounding.id()] = (float) mean;
    }
    assertThat(end[0]).isEqualTo(1);
    assertThat(end[1]).isBetween(0.945f, 0.955f);
  }
}
