package io.tensorhold.bench;

import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ServerStatus;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.function.LongSupplier;
import org.apache.commons.math3.distribution.ZipfDistribution;
import org.apache.commons.math3.random.Well19937c;

/**
 * A LOGGED table larger than a server's memory: rows of 64 B are written once, then pulled in
 * batches of 1000, 4 in flight, under a Zipf distribution of exponent 1.05 and a uniform one.
 * Prints lines of a name and a value: million rows a second, the part of the rows that were in
 * memory, and the server's resident memory in MiB.
 */
public final class LargeRows {
  private static final int DIM = 16;
  private static final int BATCH = 1000;
  private static final int IN_FLIGHT = 4;
  private static final int LOADED_BATCH = 10_000;

  /** Makes neighbours in rank strangers in key. */
  private static final long SPREAD = 0x9e37_79b9_7f4a_7c15L;

  private final TensorholdClient client;
  private final long server;
  private final int rows;
  private final double seconds;

  private LargeRows(TensorholdClient client, long server, int rows, double seconds) {
    this.client = client;
    this.server = server;
    this.rows = rows;
    this.seconds = seconds;
  }

  /** Arguments: server, its process id, rows, seconds of each measurement after a warm-up. */
  public static void main(String[] args) throws IOException {
    ClientOptions options = new ClientOptions(List.of(args[0])).withDeadline(Duration.ofMinutes(2));
    try (TensorholdClient client = TensorholdClient.connect(options);
        Session session = client.openSession("large rows")) {
      new LargeRows(
              client,
              Long.parseLong(args[1]),
              Integer.parseInt(args[2]),
              Double.parseDouble(args[3]))
          .run(session);
    }
  }

  private void run(Session session) throws IOException {
    ModelSpec.Builder spec = ModelSpec.newBuilder().setName("large");
    spec.addParametersBuilder().setName("rows").setDtype(DType.F32).getTableBuilder().setDim(DIM);
    Table table = client.create(spec.build()).table("rows");
    load(session, table);
    ZipfDistribution zipf = new ZipfDistribution(new Well19937c(1), rows, 1.05);
    measure("zipf", table, () -> (zipf.sample() - 1) * SPREAD);
    Random random = new Random(1);
    measure("uniform", table, () -> random.nextInt(rows) * SPREAD);
    print("resident-peak-mib", memory("VmHWM:"));
    print("resident-mib", memory("VmRSS:"));
  }

  private void load(Session session, Table table) {
    float[] values = new float[LOADED_BATCH * DIM];
    Arrays.fill(values, 0.5f);
    long started = System.nanoTime();
    for (int from = 0; from < rows; from += LOADED_BATCH) {
      long[] keys = new long[LOADED_BATCH];
      for (int i = 0; i < LOADED_BATCH; i++) {
        keys[i] = (from + i) * SPREAD;
      }
      var _ = session.pushRows(table, Operation.ASSIGN, keys, values);
    }
    session.flush();
    print("load", rows / ((System.nanoTime() - started) / 1e9) / 1e6);
  }

  private void measure(String name, Table table, LongSupplier keys) {
    pull(table, keys);
    ServerStatus before = status();
    long started = System.nanoTime();
    long pulled = pull(table, keys);
    double elapsed = (System.nanoTime() - started) / 1e9;
    ServerStatus after = status();
    double read = after.getRowsRead() - before.getRowsRead();
    double fromDisk = after.getRowsFromDisk() - before.getRowsFromDisk();
    print(name, pulled / elapsed / 1e6);
    print(name + "-hit-rate", 1 - fromDisk / read);
  }

  private ServerStatus status() {
    return client.status(false).values().iterator().next();
  }

  private long pull(Table table, LongSupplier keys) {
    Semaphore window = new Semaphore(IN_FLIGHT);
    CompletableFuture<Void> failed = new CompletableFuture<>();
    long started = System.nanoTime();
    long pulled = 0;
    while ((System.nanoTime() - started) / 1e9 < seconds) {
      long[] batch = new long[BATCH];
      Arrays.setAll(batch, i -> keys.getAsLong());
      window.acquireUninterruptibly();
      var _ =
          client
              .pullRows(table, batch, new float[BATCH * DIM])
              .whenComplete(
                  (done, failure) -> {
                    if (failure != null) {
                      failed.completeExceptionally(failure);
                    }
                    window.release();
                  });
      pulled += BATCH;
    }
    window.acquireUninterruptibly(IN_FLIGHT);
    failed.getNow(null);
    return pulled;
  }

  private double memory(String line) throws IOException {
    for (String text : Files.readAllLines(Path.of("/proc/" + server + "/status"))) {
      if (text.startsWith(line)) {
        return Long.parseLong(text.replaceAll("[^0-9]", "")) / 1024.0;
      }
    }
    throw new IOException("no " + line + " of process " + server);
  }

  private static void print(String name, double value) {
    System.out.printf(Locale.ROOT, "%s %.3f%n", name, value);
  }
}
