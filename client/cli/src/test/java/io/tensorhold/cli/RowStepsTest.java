package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.PushResult;
import io.tensorhold.client.RowGradients;
import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.proto.v1.Codec;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Rows of a worker's steps. Every step subtracts one from a tensor and from the rows that it names,
 * so that the end says how often each was made.
 */
@Timeout(300)
class RowStepsTest {
  private static final int DIM = 4;
  private static final int KEYS = 2000;

  @TempDir private Path folder;

  private static ModelHandle create(TensorholdClient client, Durability durability) {
    ModelSpec.Builder spec = ModelSpec.newBuilder().setName("m").setDurability(durability);
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 1);
    spec.addParametersBuilder().setName("w").setDtype(DType.F32).addDims(DIM);
    ParameterSpec.Builder table = spec.addParametersBuilder().setName("rows").setDtype(DType.F32);
    table.getTableBuilder().setDim(DIM);
    return client.create(spec.build());
  }

  private static Worker join(TensorholdClient client) {
    return client.joinModel("m", new JoinOptions(0, 0));
  }

  private static float[] ones(int rows) {
    float[] ones = new float[rows * DIM];
    Arrays.fill(ones, 1);
    return ones;
  }

  private static CompletableFuture<PushResult> step(Worker worker, long step, long... keys) {
    ModelHandle model = worker.model();
    return worker.step(
        step,
        Map.of(model.parameter("w"), MemorySegment.ofArray(ones(1))),
        List.of(new RowGradients(model.table("rows"), keys, ones(keys.length))));
  }

  /** The rows of a step are those of its batch, as in training. */
  private static long[] batch(long step) {
    return new Random(step).longs(50, 0, KEYS).distinct().toArray();
  }

  private static float[] all(TensorholdClient client, Table table) {
    float[] rows = RowsTest.pull(client, table, LongStream.range(0, KEYS).toArray());
    float[] counts = new float[KEYS];
    for (int i = 0; i < counts.length; i++) {
      counts[i] = 0 - rows[i * DIM];
    }
    return counts;
  }

  private static float[] expected(long steps) {
    float[] counts = new float[KEYS];
    for (long step = 1; step <= steps; step++) {
      for (long key : batch(step)) {
        counts[(int) key]++;
      }
    }
    return counts;
  }

  /** Rows of ones as one part of a step, past the SDK. */
  private static PushResponse part(
      String address, Worker worker, int part, int parts, long step, long... keys) {
    Table table = worker.model().table("rows");
    PushRowsHeader.Builder header =
        PushRowsHeader.newBuilder()
            .setSession(worker.session().id())
            .setSeq(1000 + 10 * step + part)
            .setAckedBelow(1)
            .setModelId(worker.model().id())
            .setTableId(table.id())
            .setShard(keys.length == 0 ? 0 : ShardHash.shard(table.id(), keys[0], 4))
            .setOperation(Operation.GRADIENT)
            .setCodec(Codec.CODEC_F32)
            .setStep(step)
            .setRank(worker.rank())
            .setPart(part)
            .setParts(parts);
    ByteBuffer values = ByteBuffer.allocate(4 * DIM * keys.length).order(ByteOrder.LITTLE_ENDIAN);
    for (long key : keys) {
      header.addKeys(key);
      for (int i = 0; i < DIM; i++) {
        values.putFloat(1);
      }
    }
    return StepPieces.sendRows(address, header.build(), values.flip());
  }

  /** The first keys that lie on the shard of a key. */
  private static long[] beside(Table table, long key, int count) {
    int shard = ShardHash.shard(table.id(), key, 4);
    return LongStream.range(0, KEYS)
        .filter(other -> ShardHash.shard(table.id(), other, 4) == shard)
        .limit(count)
        .toArray();
  }

  @Test
  void restartedWorkerMakesItsStepAgainAndTheRowsThatWereThereStayAsTheyAre() throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      ModelHandle model = create(client, Durability.LOGGED);
      Table table = model.table("rows");
      Worker first = join(client);
      step(first, 1, 1, 2, 3).join();
      // Of step 2 one shard gets its rows, and the block if it has it; then the worker dies.
      long[] there = beside(table, 1, 3);
      boolean withBlock =
          ShardHash.shard(table.id(), 1, 4) == ShardHash.shard(model.parameter("w").id(), 0, 4);
      assertThat(
              part(server.address(), first, withBlock ? 1 : 0, withBlock ? 2 : 1, 2, there)
                  .hasError())
          .isFalse();
      first.abandon();
      try (Worker again = join(client)) {
        assertThat(again.lastStep()).isEqualTo(1);
        // It draws another batch: the shard that has its rows of the step keeps them.
        PushResult result = step(again, 2, LongStream.range(100, 120).toArray()).join();
        assertThat(result.duplicates()).isEqualTo(1);
        step(again, 3, there).join();
        assertThat(RowsTest.pull(client, table, there[0])).containsOnly(there[0] == 1 ? -3 : -2);
        assertThat(client.pullFloats(model.parameter("w"))).containsOnly(-3);
        float[] other = RowsTest.pull(client, table, LongStream.range(100, 120).toArray());
        for (int i = 0; i < 20; i++) {
          boolean kept =
              ShardHash.shard(table.id(), 100 + i, 4) == ShardHash.shard(table.id(), 1, 4);
          assertThat(other[i * DIM]).isEqualTo(kept ? 0 : -1);
        }
        assertThat(part(server.address(), first, 0, 1, 4, there).getError().getMessage())
            .contains("session");
      }
      try (Worker third = join(client)) {
        assertThat(third.lastStep()).isEqualTo(3);
      }
    }
  }

  @Test
  void sameRowsAgainAreADuplicateAndOthersAConflict() throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      Table table = create(client, Durability.LOGGED).table("rows");
      try (Worker worker = join(client)) {
        step(worker, 1, 1, 2).join();
        PushResult again = step(worker, 1, 2, 1).join();
        assertThat(again.duplicates()).isEqualTo(again.pushes());
        assertThat(reason(step(worker, 1, 1, 3))).isEqualTo("STEP_CONFLICT");
        step(worker, 2, 1).join();
        assertThat(RowsTest.pull(client, table, 1)).containsOnly(-2);
        assertThat(RowsTest.pull(client, table, 3)).containsOnly(0);
      }
    }
  }

  @Test
  void partsOfStepsAreCheckedAndChangeNothing() throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      ModelHandle model = create(client, Durability.LOGGED);
      Table table = model.table("rows");
      try (Worker worker = join(client);
          Session plain = client.openSession("joined nothing")) {
        assertThat(part(server.address(), worker, 2, 2, 1, 1).getError().getMessage())
            .contains("its part of 1 to 65536: step=1 part=2 parts=2");
        PushRowsHeader.Builder header =
            PushRowsHeader.newBuilder()
                .setSession(plain.id())
                .setSeq(1)
                .setModelId(model.id())
                .setTableId(table.id())
                .setOperation(Operation.GRADIENT)
                .setCodec(Codec.CODEC_F32);
        ByteBuffer nothing = ByteBuffer.allocate(0);
        assertThat(error(server, header, nothing)).contains("names at least one row");
        assertThat(error(server, header.setStep(1), nothing)).contains("has not joined model");
        header.setSession(worker.session().id()).setRank(3);
        assertThat(error(server, header, nothing)).contains("is rank 0 of model");
        float[] bad = ones(1);
        bad[2] = Float.NaN;
        RowGradients wrong = new RowGradients(table, new long[] {5}, bad);
        assertThat(reason(worker.step(1, Map.of(), List.of(wrong)))).isEqualTo("NONFINITE");
        step(worker, 1, 1).join();
        float[] counts = all(client, table);
        assertThat(counts[1]).isEqualTo(1);
        counts[1] = 0;
        assertThat(counts).containsOnly(0);
      }
    }
  }

  private static String error(LocalServer server, PushRowsHeader.Builder header, ByteBuffer bytes) {
    return StepPieces.sendRows(server.address(), header.build(), bytes).getError().getMessage();
  }

  private static String reason(CompletableFuture<?> refused) {
    Throwable thrown = catchThrowable(refused::join);
    assertThat(thrown).hasCauseInstanceOf(TensorholdException.class);
    return ((TensorholdException) thrown.getCause()).reason();
  }

  @ParameterizedTest
  @EnumSource(
      value = Durability.class,
      names = {"LOGGED", "CHECKPOINTED"})
  void workerAndServerAreKilledAgainAndAgainAndEveryStepIsMadeOnce(Durability durability)
      throws Exception {
    String[] flags = {"--shards=3", "--memory.budget=16MiB"};
    long seed = System.nanoTime();
    Random random = new Random(seed);
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, flags);
      try (TensorholdClient client = Replicas.connect(processes)) {
        ModelHandle model = create(client, durability);
        long last = 0;
        for (int round = 0; round < 3; round++) {
          Worker worker = join(client);
          assertThat(worker.lastStep()).as("seed %d", seed).isBetween(0L, last);
          last = worker.lastStep();
          int count = 5 + random.nextInt(20);
          for (int i = 0; i < count; i++) {
            last++;
            step(worker, last, batch(last)).join();
            if (durability == Durability.CHECKPOINTED && i % 4 == 3) {
              client.checkpoint(model);
            }
          }
          last++;
          var unfinished = step(worker, last, batch(last));
          if (random.nextBoolean()) {
            processes.kill(0);
            worker.abandon();
            processes.restart(0, flags);
          } else {
            worker.abandon();
          }
          assertThat(catchThrowable(unfinished::join))
              .satisfiesAnyOf(
                  none -> assertThat(none).isNull(),
                  failed -> assertThat(failed).hasCauseInstanceOf(TensorholdException.class));
        }
        try (Worker worker = join(client)) {
          for (long step = worker.lastStep() + 1; step <= last + 3; step++) {
            step(worker, step, batch(step)).join();
          }
        }
        assertThat(all(client, model.table("rows")))
            .as("seed %d", seed)
            .isEqualTo(expected(last + 3));
        assertThat(client.pullFloats(model.parameter("w"))).containsOnly((float) -(last + 3));
      }
    }
  }
}
