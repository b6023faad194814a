package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * A linear regression by bulk synchronous workers: its weights depend on the data alone, to the
 * last bit, and not on who came first, how many shards there are, or which server was killed.
 */
@Timeout(240)
class BitsTest {
  private static final int WIDTH = 1500;
  private static final int ROWS = 64;
  private static final int STEPS = 12;

  /** What a worker computes: its share of the rows against the weights that it pulled. */
  private static final class Share {
    private final float[][] rows;
    private final float[] labels;

    Share(int from, int to) {
      rows = new float[to - from][WIDTH];
      labels = new float[to - from];
      for (int row = from; row < to; row++) {
        Random random = new Random(row);
        for (int i = 0; i < WIDTH; i++) {
          rows[row - from][i] = (float) random.nextGaussian();
        }
        labels[row - from] = (float) random.nextGaussian();
      }
    }

    void gradient(float[] weights, float[] gradient) {
      double[] sum = new double[WIDTH];
      for (int row = 0; row < rows.length; row++) {
        double error = -labels[row];
        for (int i = 0; i < WIDTH; i++) {
          error += (double) weights[i] * rows[row][i];
        }
        for (int i = 0; i < WIDTH; i++) {
          sum[i] += error * rows[row][i];
        }
      }
      for (int i = 0; i < WIDTH; i++) {
        gradient[i] = (float) (sum[i] / rows.length);
      }
    }
  }

  private static ModelHandle model(TensorholdClient client, String name, int workers) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName(name)
            .setConsistency(Consistency.BSP)
            .setWorkers(workers)
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("w")
                    .setDtype(DType.F32)
                    .addDims(WIDTH)
                    .setBlockElements(256));
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 0.0004).putHyper("momentum", 0.9);
    ModelHandle model = client.create(spec.build());
    float[] start = new float[WIDTH];
    Random random = new Random(99);
    for (int i = 0; i < WIDTH; i++) {
      start[i] = (float) random.nextGaussian() / 10;
    }
    try (Session session = client.openSession("start")) {
      session
          .push(model.parameter("w"), Operation.ASSIGN, Codec.F32, MemorySegment.ofArray(start))
          .join();
    }
    return model;
  }

  /**
   * A training run.
   *
   * @param seed of the delays
   * @param victim rank that is killed in the middle of a step and starts again; −1: none
   * @param blind gradients do not depend on the weights: what a restarted worker pulls in the
   *     middle of a step is of two steps, so it computes another gradient than it would have
   */
  private record Run(String name, int workers, long seed, int victim, boolean blind) {}

  private static float[] train(TensorholdClient client, Run run, AtomicLong step) {
    ModelHandle model = model(client, run.name, run.workers);
    List<CompletableFuture<Void>> ranks = new ArrayList<>();
    try (var threads = Executors.newVirtualThreadPerTaskExecutor()) {
      for (int rank = 0; rank < run.workers; rank++) {
        int own = rank;
        ranks.add(
            CompletableFuture.runAsync(
                () -> {
                  boolean whole = live(client, run, own, own == run.victim, step);
                  assertThat(whole || live(client, run, own, false, step)).isTrue();
                },
                threads));
      }
      ranks.forEach(CompletableFuture::join);
    }
    return client.pullFloats(model.parameter("w"));
  }

  private static boolean live(
      TensorholdClient client, Run run, int rank, boolean dies, AtomicLong progress) {
    Random random = new Random(run.seed * 31 + rank);
    Share share = new Share(rank * ROWS / run.workers, (rank + 1) * ROWS / run.workers);
    Worker worker = client.joinModel(run.name, new JoinOptions(rank, run.workers));
    try {
      Parameter w = worker.model().parameter("w");
      float[] weights = client.pullFloats(w);
      float[] gradient = new float[WIDTH];
      for (long step = worker.lastStep() + 1; step <= STEPS; step++) {
        share.gradient(run.blind ? new float[WIDTH] : weights, gradient);
        LockSupport.parkNanos(random.nextInt(4_000_000));
        var done =
            worker.stepAndPull(
                step,
                Map.of(w, MemorySegment.ofArray(gradient)),
                Map.of(w, MemorySegment.ofArray(weights)));
        if (dies && step == STEPS / 2) {
          worker.abandon();
          return false;
        }
        done.join();
        progress.accumulateAndGet(step, Math::max);
      }
      return true;
    } finally {
      if (!dies) {
        worker.close();
      }
    }
  }

  @Test
  void sameBitsWithAnyDelaysAndShardsAndAsOneWorkerWithTheWholeBatch(@TempDir Path folder)
      throws Exception {
    List<float[]> results = new ArrayList<>();
    float[] alone = null;
    for (int shards : List.of(1, 3, 8)) {
      Path data = folder.resolve("shards-" + shards);
      try (LocalServer server = new LocalServer(data, "64MiB", "1MiB", shards);
          TensorholdClient client = server.connect()) {
        int runs = shards == 3 ? 3 : 1;
        for (int run = 0; run < runs; run++) {
          Run four = new Run("m" + run, 4, run, -1, false);
          results.add(train(client, four, new AtomicLong()));
        }
        alone =
            shards == 3
                ? train(client, new Run("alone", 1, 0, -1, false), new AtomicLong())
                : alone;
      }
    }
    for (float[] weights : results) {
      assertThat(weights).isEqualTo(results.getFirst());
    }
    double norm = 0;
    double apart = 0;
    for (int i = 0; i < WIDTH; i++) {
      norm += (double) alone[i] * alone[i];
      apart += Math.pow((double) alone[i] - results.getFirst()[i], 2);
    }
    assertThat(Math.sqrt(apart / norm)).isBetween(0.0, 1e-6);
  }

  @Test
  void sameBitsWhenAServerIsKilledInTheMiddle(@TempDir Path folder) throws Exception {
    float[] quiet;
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      quiet = train(client, new Run("quiet", 4, 1, -1, false), new AtomicLong());
    }
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, "--shards=2", "--memory.budget=64MiB", "--raft.payloads=beside");
      ClientOptions options =
          new ClientOptions(List.of(processes.servers().split(",", -1)))
              .withDeadline(Duration.ofSeconds(60));
      try (TensorholdClient client = TensorholdClient.connect(options)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        AtomicLong step = new AtomicLong();
        CompletableFuture<float[]> run =
            CompletableFuture.supplyAsync(
                () -> train(client, new Run("killed", 4, 2, -1, false), step));
        Replicas.until("some steps", () -> step.get() >= 3 || run.isDone());
        processes.kill(0);
        assertThat(result(run)).isEqualTo(quiet);
      }
    }
  }

  @Test
  void workerKilledInTheMiddleOfAStepLosesAndDoublesNothing(@TempDir Path folder) throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      float[] quiet = train(client, new Run("quiet", 4, 1, -1, true), new AtomicLong());
      for (int victim : List.of(0, 3)) {
        Run killed = new Run("killed" + victim, 4, victim, victim, true);
        assertThat(train(client, killed, new AtomicLong())).as("%s", killed).isEqualTo(quiet);
      }
    }
  }

  private static float[] result(CompletableFuture<float[]> run) {
    try {
      return run.join();
    } catch (CompletionException e) {
      throw TensorholdException.class.isInstance(e.getCause())
          ? (TensorholdException) e.getCause()
          : e;
    }
  }
}
