package io.tensorhold.cli.demo;

import io.tensorhold.cli.ModelLoader;
import io.tensorhold.cli.StoredTensors;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.OnnxTemplate;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.MeasureModelResponse;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.proto.v1.ServerStatus;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** The whole product in one run, on this machine. */
@Command(
    name = "demo",
    mixinStandardHelpOptions = true,
    description =
        "Start three servers here, store a real BERT, embed sentences from it, train with four workers, and kill -9 a server in the middle.",
    footer = {"", "Everything it starts it stops, also on Ctrl-C."})
public final class DemoCommand implements Callable<Integer> {
  private static final List<String> SENTENCES =
      List.of(
          "A parameter server keeps what it was taught.",
          "The quick brown fox jumps over the lazy dog.",
          "Training workers pull weights and push gradients.",
          "Zürich is a city in Switzerland.",
          "Quantization trades a little precision for a lot of memory.",
          "He poured the coffee and looked out at the rain.",
          "Replicated logs survive the loss of a machine.",
          "What is the capital of France?");

  @Option(
      names = "--steps",
      defaultValue = "400",
      description = "Steps of training (default: ${DEFAULT-VALUE}).")
  private int steps;

  @Option(
      names = "--kill",
      defaultValue = "1",
      description = "Which server is killed: 0, 1, 2, or none (default: ${DEFAULT-VALUE}).")
  private String kill = "1";

  private final Map<String, String> summary = new java.util.LinkedHashMap<>();

  @Override
  public Integer call() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      say("starting three servers (replication 3) under %s", processes.directory());
      processes.startServers(3, "--memory.budget=256MiB");
      ClientOptions options =
          new ClientOptions(List.of(processes.servers().split(",", -1)))
              .withDeadline(Duration.ofSeconds(60));
      try (TensorholdClient client = TensorholdClient.connect(options)) {
        await("three replicas of every shard", () -> placed(client));
        Path onnx = processes.directory().resolve("all-minilm-l6-v2.onnx");
        copyResource("/all-minilm-l6-v2.onnx", onnx);
        ModelHandle f32 = load(client, onnx, "minilm", null);
        showPlacement(client, f32);
        ModelHandle q8 = load(client, onnx, "minilm-q8", Codec.Q8_0);
        compareSizes(f32, q8);
        embed(client, onnx, f32, q8);
        train(client, processes, f32);
        report(client);
      }
    }
    return 0;
  }

  @SuppressWarnings("AnnotateFormatMethod") // the annotation would be a dependency of its own
  private static void say(String format, Object... args) {
    System.out.println("== " + String.format(Locale.ROOT, format, args));
    System.out.flush();
  }

  private static void copyResource(String name, Path target) throws IOException {
    try (InputStream in = DemoCommand.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IOException("the class path has no " + name + ": run ./build again");
      }
      Files.copy(in, target);
    }
  }

  private static void await(String what, BooleanSupplier condition) {
    long deadline = System.nanoTime() + 60_000_000_000L;
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > deadline) {
        throw new TensorholdException("DEADLINE_EXCEEDED", "no " + what + " within 60 s");
      }
      LockSupport.parkNanos(50_000_000L);
    }
  }

  private static boolean placed(TensorholdClient client) {
    try {
      ClusterMap map = client.map();
      Map<String, ServerStatus> status = client.status(false);
      return map.getServersCount() == 3
          && map.getShardsList().stream()
              .allMatch(s -> s.getReplicasCount() == 3 && !s.getLeader().isEmpty())
          && status.size() == 3
          && status.values().stream()
              .allMatch(
                  s ->
                      s.getReplicasList().stream().filter(r -> r.getMembersCount() == 3).count()
                          == map.getShardCount());
    } catch (TensorholdException e) {
      return false;
    }
  }

  private ModelHandle load(TensorholdClient client, Path onnx, String name, @Nullable Codec codec)
      throws IOException {
    long started = System.nanoTime();
    try (Checkpoint checkpoint = Checkpoint.open(onnx)) {
      ModelHandle model =
          new ModelLoader(client, bytes -> {})
              .load(checkpoint, ModelLoader.spec(name, checkpoint, codec).build());
      say(
          "loaded %s: %d tensors, %,d elements, %.1f MB a replica, in %.1f s",
          name,
          model.parameters().size(),
          model.parameters().stream().mapToLong(Parameter::elements).sum(),
          bytes(model) / 1e6,
          (System.nanoTime() - started) / 1e9);
      return model;
    }
  }

  private static long bytes(ModelHandle model) {
    return model.parameters().stream().mapToLong(Parameter::bytes).sum();
  }

  private void showPlacement(TensorholdClient client, ModelHandle model) {
    Map<String, MeasureModelResponse> measured = client.measure(model);
    ClusterMap map = client.map();
    measured.forEach(
        (id, m) ->
            System.out.printf(
                Locale.ROOT,
                "  server %s holds %d blocks, %.1f MB, and leads %d of %d shards%n",
                id,
                m.getBlocks(),
                m.getWeightBytes() / 1e6,
                map.getShardsList().stream().filter(s -> s.getLeader().equals(id)).count(),
                map.getShardCount()));
  }

  private void compareSizes(ModelHandle f32, ModelHandle q8) {
    long full = bytes(f32);
    long small = bytes(q8);
    System.out.printf(
        Locale.ROOT,
        "  q8_0 takes %.1f MB instead of %.1f MB: %.1f %% saved%n",
        small / 1e6,
        full / 1e6,
        100.0 * (full - small) / full);
    summary.put(
        "storage, one replica",
        String.format(
            Locale.ROOT,
            "f32 %.1f MB, q8_0 %.1f MB (%.2f ×)",
            full / 1e6,
            small / 1e6,
            (double) full / small));
  }

  private void embed(TensorholdClient client, Path onnx, ModelHandle f32, ModelHandle q8)
      throws IOException {
    say("sentence embeddings with ONNX Runtime, weights pulled out of the store");
    WordPiece tokenizer;
    try (InputStream in =
        DemoCommand.class.getResourceAsStream("/all-minilm-l6-v2-tokenizer.json")) {
      if (in == null) {
        throw new IOException("the class path has no tokenizer: run ./build again");
      }
      tokenizer = new WordPiece(in);
    }
    float[][] original = embeddings(Files.readAllBytes(onnx), tokenizer);
    summary.put("cosine f32 to the file", cosines(pulled(client, onnx, f32), tokenizer, original));
    summary.put("cosine q8_0 to the file", cosines(pulled(client, onnx, q8), tokenizer, original));
    System.out.printf("  f32:  %s%n", summary.get("cosine f32 to the file"));
    System.out.printf("  q8_0: %s%n", summary.get("cosine q8_0 to the file"));
  }

  private static byte[] pulled(TensorholdClient client, Path onnx, ModelHandle model)
      throws IOException {
    try (OnnxTemplate template = OnnxTemplate.open(onnx)) {
      return template.fill(new StoredTensors(client, model));
    }
  }

  private static float[][] embeddings(byte[] graph, WordPiece tokenizer) throws IOException {
    float[][] vectors = new float[SENTENCES.size()][];
    try (SentenceEncoder encoder = new SentenceEncoder(graph, tokenizer)) {
      for (int i = 0; i < vectors.length; i++) {
        vectors[i] = encoder.encode(SENTENCES.get(i));
      }
    }
    return vectors;
  }

  private static String cosines(byte[] graph, WordPiece tokenizer, float[][] original)
      throws IOException {
    float[][] vectors = embeddings(graph, tokenizer);
    double least = 1;
    double sum = 0;
    for (int i = 0; i < vectors.length; i++) {
      double cosine = SentenceEncoder.cosine(original[i], vectors[i]);
      least = Math.min(least, cosine);
      sum += cosine;
    }
    return String.format(
        Locale.ROOT, "mean %.6f, least %.6f of %d", sum / vectors.length, least, vectors.length);
  }

  private void train(TensorholdClient client, DemoProcesses processes, ModelHandle bert)
      throws Exception {
    say("four worker processes train a linear autoencoder of the %s", DemoTraining.EMBEDDINGS);
    float[] rows = client.pullFloats(bert.parameter(DemoTraining.EMBEDDINGS));
    float[] covariance = Autoencoder.covariance(rows, (double) Autoencoder.WIDTH / rows.length);
    ModelHandle model = DemoTraining.create(client);
    int victim = kill.equals("none") ? -1 : Integer.parseInt(kill);
    int down = steps / 3;
    int up = 2 * steps / 3;
    DemoTraining training =
        new DemoTraining(
            processes,
            steps,
            step -> {
              try {
                if (victim >= 0 && step == down) {
                  say("kill -9 of server %d (%s)", victim, processes.address(victim));
                  processes.kill(victim);
                } else if (victim >= 0 && step == up) {
                  say("server %d starts again", victim);
                  processes.restart(victim, "--memory.budget=256MiB");
                }
              } catch (IOException | InterruptedException e) {
                throw new IllegalStateException(e);
              }
            });
    training.run();
    await("equal replicas", () -> agree(client));
    say("all replicas of all shards have the same checksum");
    float[] encoder = client.pullFloats(model.parameter(DemoTraining.ENCODER));
    float[] decoder = client.pullFloats(model.parameter(DemoTraining.DECODER));
    double loss = new Autoencoder(covariance).loss(encoder, decoder);
    double optimum = Autoencoder.optimum(covariance);
    MessageDigest sha = MessageDigest.getInstance("SHA-256");
    for (float[] matrix : List.of(encoder, decoder)) {
      ByteBuffer bytes = ByteBuffer.allocate(4 * matrix.length);
      bytes.asFloatBuffer().put(matrix);
      sha.update(bytes);
    }
    summary.put(
        "training",
        String.format(
            Locale.ROOT,
            "%d steps × %d workers in %.1f s, %.1f steps/s; longest step %.2f s",
            steps,
            DemoTraining.WORKERS,
            training.seconds(),
            steps / training.seconds(),
            training.longestStepSeconds()));
    summary.put(
        "loss",
        String.format(
            Locale.ROOT,
            "%.6f; PCA optimum %.6f (%+.2f %%)",
            loss,
            optimum,
            100 * (loss / optimum - 1)));
    summary.put("weights' SHA-256", HexFormat.of().formatHex(sha.digest()).substring(0, 32));
  }

  private static boolean agree(TensorholdClient client) {
    Map<String, ServerStatus> servers = client.status(true);
    Map<Integer, Set<String>> states = new HashMap<>();
    for (ServerStatus server : servers.values()) {
      for (ReplicaStatus replica : server.getReplicasList()) {
        states
            .computeIfAbsent(replica.getShard(), s -> new HashSet<>())
            .add(replica.getAppliedIndex() + "/" + replica.getChecksum());
      }
    }
    return servers.size() == 3 && states.values().stream().allMatch(s -> s.size() == 1);
  }

  private void report(TensorholdClient client) {
    long pulled = 0;
    long pushed = 0;
    StringBuilder memory = new StringBuilder();
    StringBuilder disk = new StringBuilder();
    for (ServerStatus server : client.status(false).values()) {
      pulled += server.getPulledBytes();
      pushed += server.getPushedBytes();
      memory.append(
          String.format(
              Locale.ROOT,
              "%.0f MB (blocks %.0f)  ",
              server.getResidentBytes() / 1e6,
              server.getMemoryTierBytes() / 1e6));
      disk.append(
          String.format(
              Locale.ROOT, "%.0f MB  ", (server.getLogBytes() + server.getRocksdbBytes()) / 1e6));
    }
    summary.put("memory of each server", memory.toString().strip());
    summary.put("disk of each server", disk.toString().strip());
    summary.put(
        "traffic since start",
        String.format(Locale.ROOT, "%.0f MB pushed, %.0f MB pulled", pushed / 1e6, pulled / 1e6));
    say("summary");
    summary.forEach((key, value) -> System.out.printf("  %-24s %s%n", key, value));
  }
}
