package io.tensorhold.cli;

import static io.tensorhold.cli.NormsJob.LIMIT;
import static io.tensorhold.cli.NormsJob.SIZES;
import static io.tensorhold.cli.NormsJob.STEPS;
import static io.tensorhold.cli.NormsJob.assertNear;
import static io.tensorhold.cli.NormsJob.gradient;
import static io.tensorhold.cli.NormsJob.gradients;
import static io.tensorhold.cli.NormsJob.model;
import static io.tensorhold.cli.NormsJob.reference;
import static io.tensorhold.cli.NormsJob.spec;
import static io.tensorhold.cli.NormsJob.weights;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
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

  private static Throwable refused(CompletableFuture<?> future) {
    Throwable thrown = catchThrowable(future::join);
    assertThat(thrown).isInstanceOf(CompletionException.class);
    return thrown.getCause();
  }
}
