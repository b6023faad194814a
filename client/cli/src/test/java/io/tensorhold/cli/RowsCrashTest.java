package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Rows of ones are added, many pushes at once, while servers are killed: at the end every row is
 * the number of pushes that named it, and all replicas are equal.
 */
@Timeout(300)
class RowsCrashTest {
  private static final int DIM = 16;
  private static final int KEYS = 20_000;
  private static final String[] FLAGS = {
    "--shards=2",
    "--memory.budget=2MiB",
    "--raft.flush-log-bytes=7MiB",
    "--raft.keep-entries=4",
    "--raft.compare-interval=2000"
  };

  private static Table table(TensorholdClient client) {
    ModelSpec.Builder model = ModelSpec.newBuilder().setName("counters");
    ParameterSpec.Builder table = model.addParametersBuilder().setName("rows").setDtype(DType.F32);
    table.getTableBuilder().setDim(DIM);
    return client.create(model.build()).table("rows");
  }

  /** Pushes without end; every push names keys that are spread over the table. */
  private static final class Adding implements AutoCloseable {
    private final Session session;
    private final Table table;
    private final float[] expected = new float[KEYS];
    private final Semaphore window = new Semaphore(16);
    private final Random random;
    final AtomicLong acked = new AtomicLong();
    private final Thread thread;
    private volatile boolean stop;

    Adding(TensorholdClient client, Table table, long seed) {
      this.session = client.openSession("rows crash test");
      this.table = table;
      this.random = new Random(seed);
      this.thread = Thread.ofPlatform().start(this::run);
    }

    private void run() {
      while (!stop) {
        window.acquireUninterruptibly();
        long[] keys = random.longs(200, 0, KEYS).toArray();
        float[] ones = new float[keys.length * DIM];
        Arrays.fill(ones, 1);
        for (long key : keys) {
          expected[(int) key]++;
        }
        var _ =
            session
                .pushRows(table, Operation.ADD, keys, ones)
                .whenComplete(
                    (done, failure) -> {
                      if (failure == null) {
                        acked.incrementAndGet();
                      }
                      window.release();
                    });
      }
    }

    void more(long pushes) {
      long before = acked.get();
      Replicas.until("acknowledgements", () -> acked.get() > before + pushes);
    }

    float[] everyValue() {
      float[] values = new float[KEYS * DIM];
      for (int i = 0; i < values.length; i++) {
        values[i] = expected[i / DIM];
      }
      return values;
    }

    @Override
    public void close() {
      stop = true;
      try {
        thread.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
      session.flush();
      session.close();
    }
  }

  private static float[] all(TensorholdClient client, Table table) {
    long[] keys = new long[KEYS];
    for (int i = 0; i < KEYS; i++) {
      keys[i] = i;
    }
    return RowsTest.pull(client, table, keys);
  }

  @Test
  void everyRowIsCountedOnceAfterKillsAtAnyMoment() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, FLAGS);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Table table = table(client);
        Adding adding = new Adding(client, table, seed);
        for (int round = 0; round < 3; round++) {
          adding.more(20 + random.nextInt(200));
          processes.kill(0);
          processes.restart(0, FLAGS);
        }
        adding.close();
        assertThat(all(client, table)).as("seed %d", seed).isEqualTo(adding.everyValue());
      }
    }
  }

  @Test
  void replicasOfRowsAreEqualAfterKills() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, FLAGS);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Table table = table(client);
        Adding adding = new Adding(client, table, 1);
        for (int victim = 0; victim < 2; victim++) {
          adding.more(50);
          processes.kill(victim);
          adding.more(200);
          processes.restart(victim, FLAGS);
          Replicas.until("all servers", () -> client.status(false).size() == 3);
          Replicas.until("the killed server to catch up", () -> Replicas.caughtUp(client));
        }
        adding.close();
        Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
        assertThat(all(client, table)).isEqualTo(adding.everyValue());
        Replicas.until(
            "the replicas' own comparison",
            () ->
                client.status(false).values().stream()
                        .flatMap(server -> server.getReplicasList().stream())
                        .filter(replica -> replica.getComparedIndex() > 0)
                        .count()
                    == client.map().getShardCount());
        assertThat(client.status(false).values())
            .allMatch(server -> server.getReplicasRefetched() == 0);
      }
    }
  }
}
