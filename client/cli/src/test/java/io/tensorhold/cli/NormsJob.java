package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

/** Two small tensors with gradients that are known, and what clipping and LAMB make of them. */
final class NormsJob {
  static final List<String> NAMES = List.of("a", "b");
  static final int[] SIZES = {1500, 700};
  static final int STEPS = 8;
  static final double LIMIT = 5;
  static final double LR = 0.05;

  /** f32 weights of magnitude 1 after {@link #STEPS} steps in f32 and in f64. */
  private static final double TOLERANCE = 5e-6;

  private NormsJob() {}

  static float[] random(long seed, int n, double scale) {
    Random random = new Random(seed);
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) (random.nextGaussian() * scale);
    }
    return x;
  }

  /** Every third step is small: its norm is below the limit. */
  static float[] gradient(int tensor, int rank, long step) {
    return random(step * 1000 + rank * 10L + tensor, SIZES[tensor], step % 3 == 0 ? 0.05 : 1);
  }

  static ModelSpec.Builder spec(String name, String kind, Consistency consistency) {
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

  static ModelHandle model(TensorholdClient client, ModelSpec spec) {
    ModelHandle model = client.create(spec);
    try (Session session = client.openSession("start")) {
      for (int tensor = 0; tensor < SIZES.length; tensor++) {
        MemorySegment start = MemorySegment.ofArray(random(tensor, SIZES[tensor], 1));
        session.push(model.parameter(NAMES.get(tensor)), Operation.ASSIGN, Codec.F32, start).join();
      }
    }
    return model;
  }

  static Map<Parameter, MemorySegment> gradients(ModelHandle model, int rank, long step) {
    Map<Parameter, MemorySegment> gradients = new TreeMap<>((a, b) -> a.name().compareTo(b.name()));
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      MemorySegment values = MemorySegment.ofArray(gradient(tensor, rank, step));
      gradients.put(model.parameter(NAMES.get(tensor)), values);
    }
    return gradients;
  }

  static List<float[]> weights(TensorholdClient client, String name) {
    ModelHandle model = client.model(name);
    return NAMES.stream().map(one -> client.pullFloats(model.parameter(one))).toList();
  }

  /** The same in f64: clip_grad_norm_ of the mean, then SGD, or LAMB as in its paper. */
  static double[][] reference(String kind, int workers, double limit) {
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

  static void assertNear(List<float[]> actual, double[][] expected, String what) {
    for (int tensor = 0; tensor < SIZES.length; tensor++) {
      double worst = 0;
      for (int i = 0; i < SIZES[tensor]; i++) {
        worst = Math.max(worst, Math.abs(actual.get(tensor)[i] - expected[tensor][i]));
      }
      assertThat(worst).as("%s, tensor %d", what, tensor).isLessThanOrEqualTo(TOLERANCE);
    }
  }
}
