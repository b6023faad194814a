package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.proto.v1.ServerStatus;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Servers as processes, killed with -9 while pushes stream. */
@Timeout(300)
class CrashTest {
  private static final int ROUNDS = Integer.getInteger("tensorhold.crash.rounds", 8);
  private static final int ELEMENTS = 3000;

  /** A stream of pushes of ones: the tensor counts how often each was applied. */
  private static final class Stream implements AutoCloseable {
    private final Session session;
    private final Parameter counter;
    private final MemorySegment ones;
    private final Semaphore window = new Semaphore(16);
    private final AtomicLong acked = new AtomicLong();
    private final AtomicLong sent = new AtomicLong();
    private final AtomicLong lastAck = new AtomicLong(System.nanoTime());
    private final AtomicLong longestGap = new AtomicLong();
    private final Thread thread;
    private volatile boolean stop;

    Stream(TensorholdClient client, Parameter counter) {
      this.session = client.openSession("crash test");
      this.counter = counter;
      float[] values = new float[ELEMENTS];
      Arrays.fill(values, 1);
      this.ones = MemorySegment.ofArray(values);
      this.thread = Thread.ofPlatform().start(this::run);
    }

    private void run() {
      while (!stop) {
        window.acquireUninterruptibly();
        sent.incrementAndGet();
        var _ =
            session
                .push(counter, Operation.ADD, Codec.F32, ones)
                .whenComplete(
                    (done, failure) -> {
                      long now = System.nanoTime();
                      long gap = now - lastAck.getAndSet(now);
                      longestGap.accumulateAndGet(gap, Math::max);
                      if (failure == null) {
                        acked.incrementAndGet();
                      }
                      window.release();
                    });
      }
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

  private static ModelHandle counters(TensorholdClient client) {
    return client.create(
        ModelSpec.newBuilder()
            .setName("counters")
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("c")
                    .setDtype(DType.F32)
                    .addDims(ELEMENTS)
                    .setBlockElements(256))
            .build());
  }

  private static TensorholdClient connect(DemoProcesses processes) {
    return TensorholdClient.connect(
        new ClientOptions(List.of(processes.servers().split(",", -1)))
            .withDeadline(Duration.ofSeconds(60)));
  }

  static void until(String what, BooleanSupplier condition) {
    long deadline = System.nanoTime() + Duration.ofSeconds(90).toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("waiting for %s", what).isLessThan(deadline);
      LockSupport.parkNanos(10_000_000);
    }
  }

  @Test
  void everyAcknowledgedPushIsThereOnceAfterKillsAtAnyMoment() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, "--memory.budget=64MiB", "--raft.flush-log-bytes=8MiB");
      try (TensorholdClient client = connect(processes)) {
        Parameter counter = counters(client).parameter("c");
        Stream stream = new Stream(client, counter);
        for (int round = 0; round < ROUNDS; round++) {
          long before = stream.acked.get();
          long more = 1L + random.nextInt(200);
          until("acknowledgements", () -> stream.acked.get() > before + more);
          processes.kill(0);
          processes.restart(0, "--memory.budget=64MiB", "--raft.flush-log-bytes=8MiB");
        }
        stream.close();
        float[] values = client.pullFloats(counter);
        assertThat(stream.acked.get()).isEqualTo(stream.sent.get());
        assertThat(values).as("seed %d", seed).containsOnly((float) stream.sent.get());
      }
    }
  }

  @Test
  void streamGoesOnWithinFiveSecondsOfItsLeadersDeath() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, "--memory.budget=64MiB");
      try (TensorholdClient client = connect(processes)) {
        until("three replicas", () -> placed(client));
        Parameter counter = counters(client).parameter("c");
        Stream stream = new Stream(client, counter);
        for (int victim = 0; victim < 3; victim++) {
          long before = stream.acked.get();
          until("acknowledgements", () -> stream.acked.get() > before + 50);
          stream.longestGap.set(0);
          processes.kill(victim);
          long killed = stream.acked.get();
          until("the stream to go on", () -> stream.acked.get() > killed + 50);
          assertThat(Duration.ofNanos(stream.longestGap.get())).isLessThan(Duration.ofSeconds(5));
          processes.restart(victim, "--memory.budget=64MiB");
          until("the replicas to agree on who is there", () -> client.status(false).size() == 3);
          until("the killed server to catch up", () -> caughtUp(client));
        }
        stream.close();
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
        until("equal checksums", () -> checksumsAgree(client));
      }
    }
  }

  static boolean placed(TensorholdClient client) {
    try {
      ClusterMap map = client.map();
      return map.getServersCount() == 3
          && map.getShardsList().stream()
              .allMatch(s -> s.getReplicasCount() == 3 && !s.getLeader().isEmpty())
          && client.status(false).values().stream()
                  .flatMap(s -> s.getReplicasList().stream())
                  .filter(r -> r.getMembersCount() == 3)
                  .count()
              == 3L * map.getShardCount();
    } catch (TensorholdException e) {
      return false;
    }
  }

  private static boolean caughtUp(TensorholdClient client) {
    Map<Integer, long[]> range = new HashMap<>();
    int[] replicas = {0};
    for (ServerStatus server : client.status(false).values()) {
      for (ReplicaStatus r : server.getReplicasList()) {
        long[] ends = range.computeIfAbsent(r.getShard(), s -> new long[] {Long.MAX_VALUE, 0});
        ends[0] = Math.min(ends[0], r.getAppliedIndex());
        ends[1] = Math.max(ends[1], r.getAppliedIndex());
        replicas[0]++;
      }
    }
    return replicas[0] == 24 && range.values().stream().allMatch(e -> e[1] - e[0] < 500);
  }

  private static boolean checksumsAgree(TensorholdClient client) {
    Map<Integer, Set<String>> states = new HashMap<>();
    Map<String, ServerStatus> servers = client.status(true);
    for (ServerStatus server : servers.values()) {
      for (ReplicaStatus r : server.getReplicasList()) {
        states
            .computeIfAbsent(r.getShard(), s -> new HashSet<>())
            .add(r.getAppliedIndex() + "/" + r.getChecksum());
      }
    }
    return servers.size() == 3 && states.values().stream().allMatch(s -> s.size() == 1);
  }
}
