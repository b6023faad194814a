package io.tensorhold.bench;

import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Pattern;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * Rows of 256 B under random keys, in batches of 1000, at 1, 4 and 8 batches in flight: pulls, and
 * gradients for Adagrad to a CHECKPOINTED and to a LOGGED model; beside them Redis' MGET and MSET
 * of values of the same size, driven by the same thread in the same way. Prints lines of a name and
 * million rows a second.
 */
public final class RowsBench {
  static final int DIM = 64;
  static final int BATCH = 1000;
  private static final int[] IN_FLIGHT = {1, 4, 8};
  private static final int[] IN_FLIGHT_LOGGED = {1, 4};

  private final int rows;
  private final double seconds;
  private final Pattern only;
  private final Random random = new Random(1);

  /** Starts one batch; the future ends when its answer is there. */
  interface Work {
    CompletableFuture<?> start();
  }

  private RowsBench(int rows, double seconds, String only) {
    this.rows = rows;
    this.seconds = seconds;
    this.only = Pattern.compile(only);
  }

  /**
   * Arguments: servers, port of Redis without a log, port of Redis with fsync at every write, rows,
   * seconds of each measurement, after a warm-up as long; with a sixth, a pattern, the others are
   * left out.
   */
  public static void main(String[] args) throws Exception {
    RowsBench bench =
        new RowsBench(
            Integer.parseInt(args[3]),
            Double.parseDouble(args[4]),
            args.length > 5 ? args[5] : ".*");
    ClientOptions options =
        new ClientOptions(List.of(args[0].split(",", -1))).withDeadline(Duration.ofSeconds(60));
    try (TensorholdClient client = TensorholdClient.connect(options);
        Session session = client.openSession("rows bench")) {
      bench.tables(client, session, Durability.CHECKPOINTED, "");
      bench.tables(client, session, Durability.LOGGED, "-logged");
    }
    bench.redis(Integer.parseInt(args[1]), "");
    bench.redis(Integer.parseInt(args[2]), "-always");
  }

  private void tables(
      TensorholdClient client, Session session, Durability durability, String suffix) {
    ModelSpec.Builder spec = ModelSpec.newBuilder().setName("rows" + suffix);
    spec.setDurability(durability).getOptimizerBuilder().setKind("adagrad");
    ParameterSpec.Builder parameter =
        spec.addParametersBuilder().setName("rows").setDtype(DType.F32);
    parameter.getTableBuilder().setDim(DIM);
    Table table = client.create(spec.build()).table("rows");
    float[] values = new float[BATCH * DIM];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    for (int from = 0; from < rows; from += BATCH) {
      var _ = session.pushRows(table, Operation.GRADIENT, range(from), values);
    }
    session.flush();
    boolean logged = durability == Durability.LOGGED;
    for (int inFlight : logged ? new int[0] : IN_FLIGHT) {
      measure("pull", inFlight, () -> client.pullRows(table, keys(), new float[BATCH * DIM]));
    }
    for (int inFlight : logged ? IN_FLIGHT_LOGGED : IN_FLIGHT) {
      measure(
          "push" + suffix,
          inFlight,
          () -> session.pushRows(table, Operation.GRADIENT, keys(), values));
    }
    session.flush();
    client.delete("rows" + suffix, false);
  }

  private void redis(int port, String suffix) throws Exception {
    try (RedisRows redis = new RedisRows(port)) {
      float[] values = new float[BATCH * DIM];
      for (int from = 0; from < rows; from += BATCH) {
        redis.mset(range(from), values).join();
      }
      boolean logged = !suffix.isEmpty();
      for (int inFlight : logged ? new int[0] : IN_FLIGHT) {
        measure("redis-mget", inFlight, () -> redis.mget(keys(), new float[BATCH * DIM]));
      }
      for (int inFlight : logged ? IN_FLIGHT_LOGGED : IN_FLIGHT) {
        measure("redis-mset" + suffix, inFlight, () -> redis.mset(keys(), values));
      }
    }
  }

  private static long[] range(long from) {
    return LongStream.range(from, from + BATCH).toArray();
  }

  private long[] keys() {
    long[] keys = new long[BATCH];
    for (int i = 0; i < BATCH; i++) {
      keys[i] = random.nextInt(rows);
    }
    return keys;
  }

  private void measure(String what, int inFlight, Work work) {
    String name = what + "-" + inFlight;
    if (!only.matcher(name).matches()) {
      return;
    }
    run(seconds, inFlight, work);
    long started = System.nanoTime();
    long batches = run(seconds, inFlight, work);
    double elapsed = (System.nanoTime() - started) / 1e9;
    System.out.printf(Locale.ROOT, "%s %.3f%n", name, batches * BATCH / elapsed / 1e6);
  }

  private static long run(double time, int inFlight, Work work) {
    Semaphore window = new Semaphore(inFlight);
    AtomicReference<@Nullable Throwable> failed = new AtomicReference<>();
    long started = System.nanoTime();
    long batches = 0;
    while ((System.nanoTime() - started) / 1e9 < time && failed.get() == null) {
      window.acquireUninterruptibly();
      var _ =
          work.start()
              .whenComplete(
                  (done, failure) -> {
                    if (failure != null) {
                      failed.set(failure);
                    }
                    window.release();
                  });
      batches++;
    }
    window.acquireUninterruptibly(inFlight);
    Throwable failure = failed.get();
    if (failure != null) {
      throw new IllegalStateException(failure);
    }
    return batches;
  }
}
