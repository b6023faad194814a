package io.tensorhold.cli.demo;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.IntConsumer;

/** The demo's training run: four worker processes, one model, one progress line. */
final class DemoTraining {
  static final String MODEL = "autoencoder";
  static final String ENCODER = "encoder";
  static final String DECODER = "decoder";
  static final String EMBEDDINGS = "embeddings.word_embeddings.weight";
  static final int WORKERS = 4;

  /** Small blocks, so that the two matrices lie on several shards. */
  private static final int BLOCK_ELEMENTS = 4096;

  /** Bytes that a worker pushes in a step; it pulls as many. */
  private static final long STEP_BYTES = 2L * 4 * Autoencoder.HIDDEN * Autoencoder.WIDTH;

  private final DemoProcesses processes;
  private final int steps;
  private final IntConsumer atStep;
  private final Map<Integer, double[]> losses = new HashMap<>();
  private final long started = System.nanoTime();
  private int lastStep;
  private double lastLoss;
  private double longestStep;
  private long lastStepAt = started;

  DemoTraining(DemoProcesses processes, int steps, IntConsumer atStep) {
    this.processes = processes;
    this.steps = steps;
    this.atStep = atStep;
  }

  static ModelHandle create(TensorholdClient client) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder().setName(MODEL).setConsistency(Consistency.BSP).setWorkers(WORKERS);
    spec.getOptimizerBuilder().setKind("adam").putHyper("lr", 0.003);
    return create(client, spec, Codec.F32);
  }

  /** The two matrices, where training starts, under a specification that says all but them. */
  static ModelHandle create(TensorholdClient client, ModelSpec.Builder spec, Codec weights) {
    spec.addParameters(matrix(ENCODER, Autoencoder.HIDDEN, Autoencoder.WIDTH, weights))
        .addParameters(matrix(DECODER, Autoencoder.WIDTH, Autoencoder.HIDDEN, weights));
    ModelHandle model = client.create(spec.build());
    float[][] start = Autoencoder.start(1);
    try (Session session = client.openSession("demo start")) {
      session
          .push(
              model.parameter(ENCODER),
              Operation.ASSIGN,
              Codec.F32,
              MemorySegment.ofArray(start[0]))
          .join();
      session
          .push(
              model.parameter(DECODER),
              Operation.ASSIGN,
              Codec.F32,
              MemorySegment.ofArray(start[1]))
          .join();
    }
    return model;
  }

  private static ParameterSpec matrix(String name, int rows, int columns, Codec codec) {
    return ParameterSpec.newBuilder()
        .setName(name)
        .setDtypeValue(DType.F32.id())
        .setCodecValue(codec.id())
        .addDims(rows)
        .addDims(columns)
        .setBlockElements(BLOCK_ELEMENTS)
        .build();
  }

  /** Runs the workers to their end. */
  void run() throws IOException, InterruptedException {
    List<Process> workers = new ArrayList<>();
    List<Thread> readers = new ArrayList<>();
    for (int rank = 0; rank < WORKERS; rank++) {
      Process worker =
          processes.startWorker(
              "demo-worker",
              "--servers=" + processes.servers(),
              "--rank=" + rank,
              "--workers=" + WORKERS,
              "--steps=" + steps);
      workers.add(worker);
      readers.add(Thread.ofPlatform().daemon().start(() -> read(worker)));
    }
    for (Process worker : workers) {
      int status = worker.waitFor();
      if (status != 0) {
        throw new IOException(
            "a worker ended with status %d; its log is in %s"
                .formatted(status, processes.directory()));
      }
    }
    for (Thread reader : readers) {
      reader.join();
    }
    System.out.println();
  }

  private void read(Process worker) {
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(worker.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (line.startsWith("step ")) {
          int space = line.indexOf(' ', 5);
          stepped(
              Integer.parseInt(line.substring(5, space)),
              Double.parseDouble(line.substring(space + 1)));
        }
      }
    } catch (IOException gone) {
      // The worker's exit status tells.
    }
  }

  private void stepped(int step, double loss) {
    boolean whole;
    synchronized (this) {
      double[] sum = losses.computeIfAbsent(step, s -> new double[2]);
      sum[0] += loss;
      sum[1]++;
      whole = sum[1] == WORKERS;
      if (whole) {
        losses.remove(step);
        lastStep = step;
        lastLoss = sum[0] / WORKERS;
        long now = System.nanoTime();
        longestStep = Math.max(longestStep, step == 1 ? 0 : (now - lastStepAt) / 1e9);
        lastStepAt = now;
        show(step);
      }
    }
    if (whole) {
      atStep.accept(step);
    }
  }

  private void show(int step) {
    if (step % 25 == 0 || step == steps) {
      double seconds = (System.nanoTime() - started) / 1e9;
      double rate = step / seconds;
      System.out.print(
          String.format(
              Locale.ROOT,
              "  step %4d/%d  loss %.6f  %5.1f steps/s  %5.1f MB/s pushed and pulled%n",
              step,
              steps,
              lastLoss,
              rate,
              rate * WORKERS * 2 * STEP_BYTES / 1e6));
      System.out.flush();
    }
  }

  synchronized int lastStep() {
    return lastStep;
  }

  /** The longest time between two steps: how long a kill was felt. */
  synchronized double longestStepSeconds() {
    return longestStep;
  }

  double seconds() {
    return (System.nanoTime() - started) / 1e9;
  }
}
