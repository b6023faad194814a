package io.tensorhold.cli.demo;

import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** One worker of the demo: a process that trains its share. It prints a line for every step. */
@Command(name = "demo-worker", hidden = true)
public final class DemoWorkerCommand implements Callable<Integer> {
  @Option(names = "--servers", required = true)
  private String servers = "";

  @Option(names = "--rank", required = true)
  private int rank;

  @Option(names = "--workers", required = true)
  private int workers;

  @Option(names = "--steps", required = true)
  private int steps;

  @Override
  public Integer call() {
    ClientOptions options =
        new ClientOptions(List.of(servers.split(",", -1))).withDeadline(Duration.ofSeconds(60));
    try (TensorholdClient client = TensorholdClient.connect(options);
        Worker worker =
            client.joinModel(
                DemoTraining.MODEL,
                new JoinOptions(rank, workers).withLabel("demo worker " + rank))) {
      Autoencoder share = new Autoencoder(covariance(client));
      ModelHandle model = worker.model();
      Parameter e = model.parameter(DemoTraining.ENCODER);
      Parameter d = model.parameter(DemoTraining.DECODER);
      float[] encoder = client.pullFloats(e);
      float[] decoder = client.pullFloats(d);
      float[] gradE = new float[encoder.length];
      float[] gradD = new float[decoder.length];
      Map<Parameter, MemorySegment> gradients =
          Map.of(e, MemorySegment.ofArray(gradE), d, MemorySegment.ofArray(gradD));
      Map<Parameter, MemorySegment> updated =
          Map.of(e, MemorySegment.ofArray(encoder), d, MemorySegment.ofArray(decoder));
      for (long step = worker.lastStep() + 1; step <= steps; step++) {
        double loss = share.gradients(encoder, decoder, gradE, gradD);
        worker.stepAndPull(step, gradients, updated).join();
        System.out.printf(Locale.ROOT, "step %d %.9f%n", step, loss);
        System.out.flush();
      }
    }
    return 0;
  }

  private float[] covariance(TensorholdClient client) {
    Parameter embeddings = client.model("minilm").parameter(DemoTraining.EMBEDDINGS);
    long rows = embeddings.shape().dim(0);
    long from = rank * rows / workers;
    long to = (rank + 1) * rows / workers;
    float[] mine = new float[Math.toIntExact((to - from) * Autoencoder.WIDTH)];
    client.pull(
        embeddings,
        Slice.parse(from + ":" + to, embeddings.shape()),
        Codec.F32,
        MemorySegment.ofArray(mine));
    return Autoencoder.covariance(mine, (double) workers / rows);
  }
}
