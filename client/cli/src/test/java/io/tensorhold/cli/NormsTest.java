package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.PushResult;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.StepFactors;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Clipping by global norm and LAMB, whose sums cross blocks and shards: as the formulas over whole
 * tensors say, in f64, and the same to the last bit however many shards there are and whoever dies.
 */
@Timeout(240)
class NormsTest {
  private static final List<String> NAMES = List.of("a", "b");
  private static final int[] SIZES = {1500, 700};
  private static final int STEPS = 8;
  private static final double LIMIT = 5;
  private static final double LR = 0.05;

  /** f32 weights of magnitude 1 after {@link #STEPS} steps in f32 and in f64. */
  private static final double TOLERANCE = 5e-6;

  private static float[] random(long seed, int n, double scale) {
    Random random = new Random(seed);
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) (random.nextGaussian() * scale);
    }
    return x;
  }

  /** Every third step is small: its norm is below the limit. */
  private static float[] gradient(int tensor, int rank, long step) {
    return random(step * 1000 + rank * 10L + tensor, SIZES[tensor], step % 3 == 0 ? 0.05 : 1);
  }

  private static ModelSpec.Builder spec(String name, String kind, Consistency consistency) {
    ModelSpec.Builder spec = ModelSpec.newBuilder().setName(name).setConsistency(consistency);
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      spec.addParameters(
          ParameterSpec.newBuilder()
              .setName(NAMES.get(tensor))
              .setDtype(DType.F32)
              .addDims(SIZES[tensor])
              .setBlockElements(256));
    }
    spec.getOptimizerBuilder().setKind(kind).putHyper("lr", LR);
    return spec;
  }

  private static ModelHandle model(TensorholdClient client, ModelSpec spec) {
    ModelHandle model = client.create(spec);
    try (Session session = client.openSession("start")) {
      for (int tensor = 0; tensor < SIZES.length; tensor++) {
        MemorySegment start = MemorySegment.ofArray(random(tensor, SIZES[tensor], 1));
        session.push(model.parameter(NAMES.get(tensor)), Operation.ASSIGN, Codec.F32, start).join();
      }
    }
    return model;
  }

  private static Map<Parameter, MemorySegment> gradients(ModelHandle model, int rank, long step) {
    Map<Parameter, MemorySegment> gradients = new TreeMap<>((a, b) -> a.name().compareTo(b.name()));
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      MemorySegment values = MemorySegment.ofArray(gradient(tensor, rank, step));
      gradients.put(model.parameter(NAMES.get(tensor)), values);
    }
    return gradients;
  }

  private static List<float[]> weights(TensorholdClient client, String name) {
    ModelHandle model = client.model(name);
    return NAMES.stream().map(one -> client.pullFloats(model.parameter(one))).toList();
  }

  /** Trains; the values that the last step brought back must be those that are stored. */
  private static List<float[]> train(
      TensorholdClient client, ModelSpec spec, int workers, AtomicLong progress) {
    model(client, spec);
    List<CompletableFuture<Void>> ranks = new ArrayList<>();
    List<float[]> brought = Arrays.stream(SIZES).mapToObj(float[]::new).toList();
    try (var threads = Executors.newVirtualThreadPerTaskExecutor()) {
      for (int rank = 0; rank < workers; rank++) {
        int own = rank;
        ranks.add(
            CompletableFuture.runAsync(
                () -> {
                  try (Worker worker = client.joinModel(spec.getName(), own, workers)) {
                    for (long step = 1; step <= STEPS; step++) {
                      var gradients = gradients(worker.model(), own, step);
                      if (own > 0) {
                        worker.step(step, gradients).join();
                        continue;
                      }
                      Map<Parameter, MemorySegment> updated =
                          Map.of(
                              worker.model().parameter("a"), MemorySegment.ofArray(brought.get(0)),
                              worker.model().parameter("b"), MemorySegment.ofArray(brought.get(1)));
                      worker.stepAndPull(step, gradients, updated).join();
                      progress.set(step);
                    }
                  }
                },
                threads));
      }
      ranks.forEach(CompletableFuture::join);
    }
    List<float[]> stored = weights(client, spec.getName());
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      assertThat(brought.get(tensor)).isEqualTo(stored.get(tensor));
    }
    return stored;
  }

  /** The same in f64: clip_grad_norm_ of the mean, then SGD, or LAMB as in its paper. */
  private static double[][] reference(String kind, int workers, double limit) {
    double[][] w = new double[SIZES.length][];
    double[][] m = new double[SIZES.length][];
    double[][] v = new double[SIZES.length][];
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      float[] start = random(tensor, SIZES[tensor], 1);
      w[tensor] = new double[SIZES[tensor]];
      m[tensor] = new double[SIZES[tensor]];
      v[tensor] = new double[SIZES[tensor]];
      for (int i = 0; i < start.length; i++) {
        w[tensor][i] = start[i];
      }
    }
    for (int step = 1; step <= STEPS; step++) {
      double[][] g = new double[SIZES.length][];
      double squares = 0;
      for (int tensor = 0; tensor < SIZES.length; tensor++) {
        g[tensor] = new double[SIZES[tensor]];
        for (int rank = 0; rank < workers; rank++) {
          float[] own = gradient(tensor, rank, step);
          for (int i = 0; i < own.length; i++) {
            g[tensor][i] += own[i] / (double) workers;
          }
        }
        squares += Arrays.stream(g[tensor]).map(x -> x * x).sum();
      }
      double scale = limit == 0 ? 1 : Math.min(1, limit / (Math.sqrt(squares) + 1e-6));
      for (int tensor = 0; tensor < SIZES.length; tensor++) {
        if (kind.equals("sgd")) {
          for (int i = 0; i < SIZES[tensor]; i++) {
            w[tensor][i] -= LR * scale * g[tensor][i];
          }
        } else {
          lamb(step, scale, g[tensor], w[tensor], m[tensor], v[tensor]);
        }
      }
    }
    return w;
  }

  private static void lamb(int step, double scale, double[] g, double[] w, double[] m, double[] v) {
    double[] u = new double[w.length];
    double weights = 0;
    double directions = 0;
    for (int i = 0; i < w.length; i++) {
      double x = scale * g[i];
      m[i] = 0.9 * m[i] + 0.1 * x;
      v[i] = 0.999 * v[i] + 0.001 * x * x;
      double root = Math.sqrt(v[i] / (1 - Math.pow(0.999, step)));
      u[i] = m[i] / (1 - Math.pow(0.9, step)) / (root + 1e-6) + 0.01 * w[i];
      weights += w[i] * w[i];
      directions += u[i] * u[i];
    }
    double trust = Math.sqrt(weights / directions);
    for (int i = 0; i < w.length; i++) {
      w[i] -= LR * trust * u[i];
    }
  }

  private static void assertNear(List<float[]> actual, double[][] expected, String what) {
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      double worst = 0;
      for (int i = 0; i < SIZES[tensor]; i++) {
        worst = Math.max(worst, Math.abs(actual.get(tensor)[i] - expected[tensor][i]));
      }
      assertThat(worst).as("%s, tensor %d", what, tensor).isLessThanOrEqualTo(TOLERANCE);
    }
  }

  @Test
  void stepsAreThoseOfTheFormulasAndTheSameOnAnyNumberOfShards(@TempDir Path folder)
      throws Exception {
    Map<String, List<float[]>> first = new TreeMap<>();
    for (int shards : List.of(1, 3, 8)) {
      try (LocalServer server =
              new LocalServer(folder.resolve("" + shards), "64MiB", "1MiB", shards);
          TensorholdClient client = server.connect()) {
        for (String kind : List.of("sgd", "lamb")) {
          for (double limit : kind.equals("sgd") ? new double[] {LIMIT} : new double[] {0, LIMIT}) {
            for (int workers : List.of(1, 2, 4)) {
              String name = "%s-%s-%d".formatted(kind, limit, workers);
              ModelSpec.Builder spec = spec(name, kind, Consistency.BSP).setWorkers(workers);
              spec.getOptimizerBuilder().setClipNorm(limit);
              List<float[]> w = train(client, spec.build(), workers, new AtomicLong());
              assertNear(w, reference(kind, workers, limit), name);
              List<float[]> before = first.putIfAbsent(name, w);
              for (int tensor = 0; before != null && tensor < SIZES.length; tensor++) {
                assertThat(w.get(tensor)).as(name).isEqualTo(before.get(tensor));
              }
            }
          }
        }
      }
    }
  }

  @Test
  void sameBitsWhenServersAreKilledInTheMiddle(@TempDir Path folder) throws Exception {
    ModelSpec.Builder spec = spec("m", "lamb", Consistency.BSP).setWorkers(2);
    spec.getOptimizerBuilder().setClipNorm(LIMIT);
    List<float[]> quiet;
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      quiet = train(client, spec.build(), 2, new AtomicLong());
    }
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, "--memory.budget=64MiB");
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        AtomicLong progress = new AtomicLong();
        CompletableFuture<List<float[]>> run =
            CompletableFuture.supplyAsync(() -> train(client, spec.build(), 2, progress));
        Replicas.until("some steps", () -> progress.get() >= 2 || run.isDone());
        processes.kill(0);
        assertThat(run.join().get(0)).isEqualTo(quiet.get(0));
        assertThat(run.join().get(1)).isEqualTo(quiet.get(1));
      }
    }
  }

  /** A worker past the SDK: each shard's part of step 1. */
  private static PushHeader.Builder header(Worker worker, int shard, long seq, long step) {
    PushHeader.Builder header =
        PushHeader.newBuilder()
            .setSession(worker.session().id())
            .setSeq(seq)
            .setAckedBelow(1)
            .setModelId(worker.model().id())
            .setShard(shard)
            .setOperation(Operation.GRADIENT)
            .setStep(step)
            .setRank(worker.rank());
    payload(worker, shard, step, header);
    return header;
  }

  private static ByteBuffer payload(
      Worker worker, int shard, long step, PushHeader.Builder header) {
    ByteBuffer payload = ByteBuffer.allocate(4 * 2200).order(ByteOrder.LITTLE_ENDIAN);
    header.clearBlocks();
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      Parameter parameter = worker.model().parameter(NAMES.get(tensor));
      float[] values = gradient(tensor, worker.rank(), step);
      for (int block = 0; block < parameter.blocks(); block++) {
        if (ShardHash.shard(parameter.id(), block, 4) == shard) {
          int begin = payload.position();
          int elements = parameter.elementsIn(block);
          for (int i = 0; i < elements; i++) {
            payload.putFloat(values[256 * block + i]);
          }
          MemorySegment bytes = MemorySegment.ofBuffer(payload.slice(begin, 4 * elements));
          header
              .addBlocksBuilder()
              .setParameterId(parameter.id())
              .setBlock(block)
              .setCodec(io.tensorhold.proto.v1.Codec.CODEC_F32)
              .setPayloadBytes(4 * elements)
              .setCrc32C(Crc32c.of(bytes))
              .setHasCrc(true);
        }
      }
    }
    return payload.flip();
  }

  private static PushResponse whole(String address, Worker worker, int shard, long seq) {
    PushHeader.Builder header = header(worker, shard, seq, 1);
    return StepPieces.send(address, header.build(), payload(worker, shard, 1, header));
  }

  private static PushResponse bring(
      String address, Worker worker, int shard, long seq, float scale) {
    PushHeader.Builder header = header(worker, shard, seq, 1).setWithoutPayload(true);
    header.getFactorsBuilder().setGradientScale(scale);
    return StepPieces.send(address, header.build(), ByteBuffer.allocate(0));
  }

  private static String reason(PushResponse response) {
    return response.hasError() ? TensorholdException.of(response.getError()).reason() : "";
  }

  private static ModelSpec clipped(String name) {
    ModelSpec.Builder spec = spec(name, "sgd", Consistency.BSP).setWorkers(1);
    spec.getOptimizerBuilder().setClipNorm(LIMIT);
    return spec.build();
  }

  /** A block of the model on each side of the cut, moved by step 1 under a scale. */
  private static void assertStepped(TensorholdClient client, String name, float scale) {
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      float[] start = random(tensor, SIZES[tensor], 1);
      float[] g = gradient(tensor, 0, 1);
      float[] w = weights(client, name).get(tensor);
      for (int i = 0; i < w.length; i++) {
        assertThat((double) w[i])
            .isCloseTo(start[i] - LR * scale * g[i], org.assertj.core.data.Offset.offset(1e-6));
      }
    }
  }

  @Test
  void factorsThatOneShardHasLoggedAreThoseOfTheOthersThoughAllWorkersDied(@TempDir Path folder)
      throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      ModelHandle model = model(client, clipped("m"));
      Worker dead = client.joinModel("m", new JoinOptions(0, 1));
      // It has measured its step everywhere, and brings one shard factors of its own making.
      for (int shard = 0; shard < 4; shard++) {
        assertThat(whole(server.address(), dead, shard, 10 + shard).hasSums()).isTrue();
      }
      int made = ShardHash.shard(model.parameter("b").id(), 1, 4);
      PushResponse first = bring(server.address(), dead, made, 20, 0.25f);
      assertThat(first.getFactors()).isEqualTo(factors(0.25f));
      assertThat(first.getDuplicate()).isFalse();

      // Other ones afterwards change nothing; the answer says which count.
      PushResponse other = bring(server.address(), dead, made, 21, 0.5f);
      assertThat(other.getDuplicate()).isTrue();
      assertThat(other.getFactors()).isEqualTo(factors(0.25f));
      dead.abandon();

      try (Worker again = client.joinModel("m", new JoinOptions(0, 1))) {
        assertThat(again.lastStep()).isZero();
        PushResult result = again.step(1, gradients(again.model(), 0, 1)).join();
        assertThat(result.duplicates()).isEqualTo(1);
      }
      assertStepped(client, "m", 0.25f);
    }
  }

  private static StepFactors factors(float scale) {
    return StepFactors.newBuilder().setGradientScale(scale).build();
  }

  @Test
  void leaderThatDiesBetweenMeasuringAndTheFactorsIsSentTheStepAgain() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, "--shards=4", "--memory.budget=64MiB");
      try (TensorholdClient client = Replicas.connect(processes)) {
        model(client, clipped("m"));
        String address = processes.servers();
        Worker worker = client.joinModel("m", new JoinOptions(0, 1));
        List<PushResponse> before = new ArrayList<>();
        for (int shard = 0; shard < 4; shard++) {
          before.add(whole(address, worker, shard, 10 + shard));
        }
        processes.kill(0);
        processes.restart(0, "--memory.budget=64MiB");
        Replicas.until("a leader", () -> client.list("", false).size() == 1);
        Replicas.until(
            "the step to be unknown",
            () -> reason(bring(address, worker, 0, 20, 0.5f)).equals("STEP_UNKNOWN"));
        for (int shard = 0; shard < 4; shard++) {
          assertThat(whole(address, worker, shard, 30 + shard).getSums())
              .isEqualTo(before.get(shard).getSums());
        }
        // Under the SDK's numbers, the same push again: it is answered with its sums at once.
        worker.step(1, gradients(worker.model(), 0, 1)).join();
        worker.close();
        double squares = 0;
        for (int tensor = 0; tensor < SIZES.length; tensor++) {
          for (float x : gradient(tensor, 0, 1)) {
            squares += (double) x * x;
          }
        }
        assertStepped(client, "m", (float) (LIMIT / (Math.sqrt(squares) + 1e-6)));
      }
    }
  }

  @Test
  void workersThatWaitForNobodyClipTheirOwnGradients(@TempDir Path folder) throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      for (Durability durability : List.of(Durability.LOGGED, Durability.CHECKPOINTED)) {
        ModelSpec.Builder spec = spec("m" + durability, "sgd", Consistency.ASP);
        spec.setDurability(durability).getOptimizerBuilder().setClipNorm(LIMIT);
        ModelHandle model = model(client, spec.build());
        try (Session session = client.openSession("asp")) {
          for (long step = 1; step <= STEPS; step++) {
            session.step(model, step, 0, gradients(model, 0, step)).join();
          }
          Parameter a = model.parameter("a");
          MemorySegment g = MemorySegment.ofArray(gradient(0, 0, 1));
          assertThat(refused(session.push(a, Operation.GRADIENT, Codec.F32, g)))
              .hasMessageContaining("the push carries no factors");
        }
        assertNear(weights(client, "m" + durability), reference("sgd", 1, LIMIT), "" + durability);
      }
      Throwable lamb =
          catchThrowable(() -> client.create(spec("l", "lamb", Consistency.ASP).build()));
      assertThat(lamb).hasMessageContaining("consistency value=ASP allowed=BSP");
    }
  }

  @Test
  void factorsAreChecked(@TempDir Path folder) throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      model(client, clipped("m"));
      try (Worker worker = client.joinModel("m", new JoinOptions(0, 1))) {
        whole(server.address(), worker, 0, 10);
        for (float scale : new float[] {0, -1, 1.5f, Float.NaN}) {
          PushResponse wrong = bring(server.address(), worker, 0, 11, scale);
          assertThat(reason(wrong)).isEqualTo("OPTIMIZER_INVALID");
          assertThat(wrong.getError().getMessage()).contains("allowed=above 0, to 1");
        }
        PushHeader.Builder trust = header(worker, 0, 12, 1).setWithoutPayload(true);
        trust.getFactorsBuilder().setGradientScale(1).addTrust(1);
        assertThat(reason(StepPieces.send(server.address(), trust.build(), ByteBuffer.allocate(0))))
            .isEqualTo("OPTIMIZER_INVALID");
        PushHeader bare = header(worker, 0, 13, 1).setWithoutPayload(true).build();
        assertThat(reason(StepPieces.send(server.address(), bare, ByteBuffer.allocate(0))))
            .isEqualTo("REQUEST_INVALID");
        worker.step(1, gradients(worker.model(), 0, 1)).join();
      }
    }
  }

  private static Throwable refused(CompletableFuture<?> future) {
    Throwable thrown = catchThrowable(future::join);
    assertThat(thrown).isInstanceOf(CompletionException.class);
    return thrown.getCause();
  }
}
