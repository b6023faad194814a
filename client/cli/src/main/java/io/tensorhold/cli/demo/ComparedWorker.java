package io.tensorhold.cli.demo;

import io.tensorhold.client.DiLoCo;
import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.SessionTraffic;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.Worker;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** One worker of a run: it trains on its share of the rows, and keeps the loss of every step. */
final class ComparedWorker {
  private final Worker worker;
  private final Autoencoder share;
  private final Parameter e;
  private final Parameter d;
  private final float[] encoder;
  private final float[] decoder;
  private final float[] gradE;
  private final float[] gradD;
  private final double[] losses;

  private ComparedWorker(TensorholdClient client, Worker worker, float[] covariance, int steps) {
    this.worker = worker;
    share = new Autoencoder(covariance);
    e = worker.model().parameter(DemoTraining.ENCODER);
    d = worker.model().parameter(DemoTraining.DECODER);
    encoder = client.pullFloats(e);
    decoder = client.pullFloats(d);
    gradE = new float[encoder.length];
    gradD = new float[decoder.length];
    losses = new double[steps];
  }

  /** What a worker has seen. */
  record Seen(List<Double> losses, SessionTraffic traffic) {}

  /** Trains to the end. */
  static Seen run(
      TensorholdClient client,
      String model,
      ComparedRun run,
      int rank,
      float[] covariance,
      int steps,
      int overlap) {
    try (Worker worker = client.joinModel(model, new JoinOptions(rank, DemoTraining.WORKERS))) {
      worker.session().encodeGradients(run.gradients());
      ComparedWorker own = new ComparedWorker(client, worker, covariance, steps);
      if (run.innerSteps() == 0) {
        own.sendEveryStep();
      } else {
        own.sendSeldom(run.innerSteps(), overlap);
      }
      return new Seen(Arrays.stream(own.losses).boxed().toList(), worker.session().traffic());
    }
  }

  private void sendEveryStep() {
    Map<Parameter, MemorySegment> gradients =
        Map.of(e, MemorySegment.ofArray(gradE), d, MemorySegment.ofArray(gradD));
    Map<Parameter, MemorySegment> updated =
        Map.of(e, MemorySegment.ofArray(encoder), d, MemorySegment.ofArray(decoder));
    for (int i = 0; i < losses.length; i++) {
      losses[i] = share.gradients(encoder, decoder, gradE, gradD);
      worker.stepAndPull(worker.lastStep() + 1 + i, gradients, updated).join();
    }
  }

  private void sendSeldom(int innerSteps, int overlap) {
    DiLoCo outer =
        new DiLoCo(
            worker,
            List.of(List.of(e), List.of(d)),
            Map.of(e, encoder, d, decoder),
            innerSteps,
            overlap);
    InnerAdam ofEncoder = new InnerAdam(encoder);
    InnerAdam ofDecoder = new InnerAdam(decoder);
    for (int i = 0; i < losses.length; i++) {
      losses[i] = share.gradients(encoder, decoder, gradE, gradD);
      ofEncoder.step(i + 1, gradE);
      ofDecoder.step(i + 1, gradD);
      outer.afterInnerStep();
    }
    outer.finish();
  }

  /** The worker's own optimizer, by the kernels that the server has. */
  private static final class InnerAdam {
    private static final UpdateRule RULE =
        new UpdateRule(
            Optimizer.of("adam", Map.of("lr", ComparedRun.LEARNING_RATE)),
            Schedule.of("constant", Map.of()),
            0,
            0,
            StateCodec.F32,
            Rounding.NEAREST);

    private final Kernels kernels = Kernels.best();
    private final int n;
    private final MemorySegment weights;
    private final MemorySegment state;
    private final MemorySegment scratch;

    InnerAdam(float[] values) {
      n = values.length;
      weights = MemorySegment.ofArray(values);
      state = MemorySegment.ofArray(new byte[(int) RULE.stateBytes(n)]);
      scratch = MemorySegment.ofArray(new byte[(int) RULE.scratchBytes()]);
      RULE.initialize(kernels, state, 0, n);
    }

    void step(int step, float[] gradient) {
      UpdateRule.Command command = new UpdateRule.Command(step, 1, 1, 0);
      MemorySegment g = MemorySegment.ofArray(gradient);
      RULE.step(kernels, command, weights, 0, g, 0, state, 0, 0, n, n, scratch);
    }
  }
}
