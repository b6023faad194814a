package io.tensorhold.cli.demo;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.tensorhold.cli.CliFailure;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.SessionTraffic;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.TensorEntry;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** The demo's training job in several ways, side by side: what each sends and where it ends. */
@Command(
    name = "compare",
    mixinStandardHelpOptions = true,
    description =
        "Train the demo's job with four workers under each consistency and gradient codec and as DiLoCo; print the bytes and the final loss of each.",
    footer = {
      "",
      "Runs: bsp, ssp (staleness 4), asp, asp_aware (staleness-aware rate), the last three at a",
      "rate that falls to 0.01 of itself, from a quarter of bsp's or, asp_aware, from the whole; bf16, q8_linear, q4_0, topk and sign1, which are bsp;",
      "diloco, which is bsp with H local steps of Adam, q4_0 on the wire and outer Nesterov."
    })
public final class CompareCommand implements Callable<Integer> {
  private static final int CURVE_POINTS = 100;

  @Option(
      names = "--servers",
      description =
          "A cluster that runs already. Without it: a server of its own, on this machine.")
  private @Nullable String servers;

  @Option(
      names = "--runs",
      split = ",",
      description = "Which runs, with commas between (default: all).")
  private @Nullable List<String> runs;

  @Option(
      names = "--steps",
      defaultValue = "400",
      description = "Steps of each worker (default: ${DEFAULT-VALUE}).")
  private int steps;

  @Option(
      names = "--top",
      defaultValue = "0.01",
      description = "Share of the elements that topk sends (default: ${DEFAULT-VALUE}).")
  private double top;

  @Option(
      names = "--inner-steps",
      defaultValue = "50",
      description = "DiLoCo's H, an even number (default: ${DEFAULT-VALUE}).")
  private int innerSteps;

  @Option(
      names = "--overlap",
      defaultValue = "5",
      description =
          "Inner steps from a fragment's sending to its values' use (default: ${DEFAULT-VALUE}).")
  private int overlap;

  @Option(names = "--json", description = "Write the curves and figures to a file.")
  private @Nullable Path json;

  private final List<float[]> shares = new ArrayList<>();
  private float[] covariance = new float[0];

  @Override
  public Integer call() throws Exception {
    List<ComparedRun> all = ComparedRun.all(top, innerSteps, steps);
    List<String> names = runs == null ? all.stream().map(ComparedRun::name).toList() : runs;
    for (String name : names) {
      if (all.stream().noneMatch(run -> run.name().equals(name))) {
        throw new CliFailure(
            "unknown run: value=\"%s\" known=%s"
                .formatted(name, all.stream().map(ComparedRun::name).toList()));
      }
    }
    readRows();
    double optimum = Autoencoder.optimum(covariance);
    Map<String, Object> report = new LinkedHashMap<>();
    report.put("steps", steps);
    report.put("workers", DemoTraining.WORKERS);
    report.put("inner_steps", innerSteps);
    report.put("overlap", overlap);
    report.put("topk", top);
    report.put("optimum", optimum);
    List<Object> figures = new ArrayList<>();
    report.put("runs", figures);
    try (DemoProcesses processes = new DemoProcesses()) {
      String cluster = servers;
      if (cluster == null) {
        processes.startServers(1, "--memory.budget=128MiB");
        cluster = processes.servers();
      }
      System.out.printf(
          Locale.ROOT,
          "%d steps × %d workers; PCA optimum %.6f%n%-10s %14s %8s %14s %10s %9s %8s%n",
          steps,
          DemoTraining.WORKERS,
          optimum,
          "run",
          "pushed bytes",
          "of f32",
          "pulled bytes",
          "loss",
          "over PCA",
          "seconds");
      for (ComparedRun run : all) {
        if (names.contains(run.name())) {
          figures.add(run(run, cluster, optimum));
        }
      }
    }
    if (json != null) {
      new ObjectMapper().writerWithDefaultPrettyPrinter().writeValue(json.toFile(), report);
    }
    return 0;
  }

  /** The rows of the word embeddings, straight from the checkpoint: no run pays for them. */
  private void readRows() throws IOException {
    Path onnx = Files.createTempFile("tensorhold-compare-", ".onnx");
    try (var in = CompareCommand.class.getResourceAsStream("/all-minilm-l6-v2.onnx")) {
      if (in == null) {
        throw new IOException("the class path has no MiniLM: run ./build again");
      }
      Files.copy(in, onnx, StandardCopyOption.REPLACE_EXISTING);
      try (Checkpoint checkpoint = Checkpoint.open(onnx)) {
        TensorEntry tensor =
            checkpoint.tensors().stream()
                .filter(t -> t.name().equals(DemoTraining.EMBEDDINGS))
                .findFirst()
                .orElseThrow(() -> new IOException("no " + DemoTraining.EMBEDDINGS));
        byte[] bytes = new byte[Math.toIntExact(tensor.bytes())];
        checkpoint.read(tensor, 0, java.nio.ByteBuffer.wrap(bytes));
        float[] rows = new float[bytes.length / 4];
        MemorySegment.ofArray(rows).copyFrom(MemorySegment.ofArray(bytes));
        covariances(rows);
      }
    } finally {
      Files.delete(onnx);
    }
  }

  private void covariances(float[] rows) {
    int count = rows.length / Autoencoder.WIDTH;
    int workers = DemoTraining.WORKERS;
    for (int rank = 0; rank < workers; rank++) {
      int from = (int) ((long) rank * count / workers) * Autoencoder.WIDTH;
      int to = (int) ((rank + 1L) * count / workers) * Autoencoder.WIDTH;
      shares.add(
          Autoencoder.covariance(Arrays.copyOfRange(rows, from, to), (double) workers / count));
    }
    covariance = Autoencoder.covariance(rows, 1.0 / count);
  }

  private Map<String, Object> run(ComparedRun run, String cluster, double optimum) {
    ClientOptions options =
        new ClientOptions(List.of(cluster.split(",", -1))).withDeadline(Duration.ofSeconds(60));
    String name = "compare-%s-%d".formatted(run.name(), ProcessHandle.current().pid());
    try (TensorholdClient client = TensorholdClient.connect(options)) {
      ModelHandle model = DemoTraining.create(client, run.spec().setName(name));
      long started = System.nanoTime();
      List<ComparedWorker.Seen> seen = train(run, options, name);
      double seconds = (System.nanoTime() - started) / 1e9;
      float[] encoder = client.pullFloats(model.parameter(DemoTraining.ENCODER));
      float[] decoder = client.pullFloats(model.parameter(DemoTraining.DECODER));
      client.delete(name, false);
      double loss = new Autoencoder(covariance).loss(encoder, decoder);
      return figures(run, seen, loss, optimum, seconds);
    }
  }

  private List<ComparedWorker.Seen> train(ComparedRun run, ClientOptions options, String model) {
    try (ExecutorService threads = Executors.newFixedThreadPool(DemoTraining.WORKERS)) {
      List<CompletableFuture<ComparedWorker.Seen>> workers = new ArrayList<>();
      for (int rank = 0; rank < DemoTraining.WORKERS; rank++) {
        int own = rank;
        workers.add(
            CompletableFuture.supplyAsync(
                () -> {
                  try (TensorholdClient client = TensorholdClient.connect(options)) {
                    return ComparedWorker.run(
                        client, model, run, own, shares.get(own), steps, overlap);
                  }
                },
                threads));
      }
      return workers.stream().map(CompletableFuture::join).toList();
    }
  }

  private Map<String, Object> figures(
      ComparedRun run,
      List<ComparedWorker.Seen> seen,
      double loss,
      double optimum,
      double seconds) {
    SessionTraffic sum = new SessionTraffic(0, 0, 0);
    double[] mean = new double[steps];
    for (ComparedWorker.Seen worker : seen) {
      sum =
          new SessionTraffic(
              sum.pushed() + worker.traffic().pushed(),
              sum.pushedAsF32() + worker.traffic().pushedAsF32(),
              sum.pulled() + worker.traffic().pulled());
      for (int i = 0; i < steps; i++) {
        mean[i] += worker.losses().get(i) / seen.size();
      }
    }
    System.out.printf(
        Locale.ROOT,
        "%-10s %,14d %8.4f %,14d %10.6f %+8.2f%% %8.1f%n",
        run.name(),
        sum.pushed(),
        (double) sum.pushed() / sum.pushedAsF32(),
        sum.pulled(),
        loss,
        100 * (loss / optimum - 1),
        seconds);
    Map<String, Object> figures = new LinkedHashMap<>();
    figures.put("name", run.name());
    figures.put("pushed_bytes", sum.pushed());
    figures.put("pushed_as_f32_bytes", sum.pushedAsF32());
    figures.put("pulled_bytes", sum.pulled());
    figures.put("loss", loss);
    figures.put("seconds", Math.round(10 * seconds) / 10.0);
    List<double[]> curve = new ArrayList<>();
    int each = Math.max(1, steps / CURVE_POINTS);
    for (int i = 0; i < steps; i += each) {
      curve.add(new double[] {i, Math.round(1e6 * mean[i]) / 1e6});
    }
    figures.put("curve", curve);
    return figures;
  }
}
