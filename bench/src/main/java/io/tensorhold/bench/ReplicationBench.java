package io.tensorhold.bench;

import io.tensorhold.client.BlockPayload;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.proto.v1.Shard;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Semaphore;
import java.util.concurrent.locks.LockSupport;

/**
 * Pushes blocks of 1 MiB to a LOGGED model until every replica has them. Prints lines of a name and
 * a value: GB/s of the acknowledgements, and what the servers' processes wrote to the disk for each
 * byte pushed, log and database together.
 */
public final class ReplicationBench {
  private static final int BLOCK_BYTES = 1 << 20;
  private static final int BLOCKS = 64;
  private static final int IN_FLIGHT = 32;

  private ReplicationBench() {}

  /**
   * Arguments: servers, their process ids with commas between, replicas of a shard, MiB to push.
   */
  public static void main(String[] args) throws IOException {
    List<String> pids = List.of(args[1].split(",", -1));
    int replicas = Integer.parseInt(args[2]);
    int mib = Integer.parseInt(args[3]);
    ClientOptions options =
        new ClientOptions(List.of(args[0].split(",", -1))).withDeadline(Duration.ofSeconds(60));
    try (TensorholdClient client = TensorholdClient.connect(options);
        Session session = client.openSession("replication bench");
        Arena arena = Arena.ofShared()) {
      until(() -> placed(client, replicas));
      MemorySegment block = arena.allocate(BLOCK_BYTES);
      for (long i = 0; i < BLOCK_BYTES / Float.BYTES; i++) {
        block.setAtIndex(ValueLayout.JAVA_FLOAT, i, i * 0.25f);
      }
      Parameter parameter = create(client);
      push(session, parameter, block, mib); // the JIT, and the state that goes on as it is
      until(() -> caughtUp(client, replicas));
      long written = written(pids);
      long started = System.nanoTime();
      push(session, parameter, block, mib);
      double seconds = (System.nanoTime() - started) / 1e9;
      until(() -> caughtUp(client, replicas));
      double bytes = (double) mib * BLOCK_BYTES;
      print("gbs", bytes / 1e9 / seconds);
      print("written", (written(pids) - written) / bytes);
    }
  }

  private static Parameter create(TensorholdClient client) {
    return client
        .create(
            ModelSpec.newBuilder()
                .setName("logged")
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("w")
                        .setDtype(DType.F32)
                        .setBlockElements(BLOCK_BYTES / Float.BYTES)
                        .addDims((long) BLOCKS * BLOCK_BYTES / Float.BYTES))
                .build())
        .parameter("w");
  }

  private static void push(Session session, Parameter parameter, MemorySegment block, int count) {
    Semaphore window = new Semaphore(IN_FLIGHT);
    for (int i = 0; i < count; i++) {
      window.acquireUninterruptibly();
      BlockPayload payload = new BlockPayload(parameter, i % BLOCKS, Codec.F32, block);
      var _ =
          session
              .pushBlocks(parameter.model(), Operation.ASSIGN, List.of(payload))
              .whenComplete((done, failure) -> window.release());
    }
    session.flush();
  }

  private static boolean placed(TensorholdClient client, int replicas) {
    return client.map().getShardsList().stream()
        .allMatch(shard -> shard.getReplicasCount() == replicas && !shard.getLeader().isEmpty());
  }

  /** Whether all replicas of every shard have applied the same. */
  private static boolean caughtUp(TensorholdClient client, int replicas) {
    List<ReplicaStatus> all =
        client.status(false).values().stream()
            .flatMap(server -> server.getReplicasList().stream())
            .toList();
    List<Shard> shards = client.map().getShardsList();
    for (Shard shard : shards) {
      Set<Long> applied = new HashSet<>();
      all.stream()
          .filter(replica -> replica.getShard() == shard.getShard())
          .forEach(replica -> applied.add(replica.getAppliedIndex()));
      if (applied.size() != 1) {
        return false;
      }
    }
    return all.size() == replicas * shards.size();
  }

  private static long written(List<String> pids) throws IOException {
    long bytes = 0;
    for (String pid : pids) {
      bytes +=
          Files.readAllLines(Path.of("/proc", pid, "io")).stream()
              .filter(line -> line.startsWith("write_bytes:"))
              .mapToLong(line -> Long.parseLong(line.substring(line.indexOf(' ') + 1)))
              .findFirst()
              .orElseThrow();
    }
    return bytes;
  }

  private interface Condition {
    boolean holds();
  }

  private static void until(Condition condition) {
    long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
    while (!condition.holds()) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException("the replicas did not come to rest within 60 s");
      }
      LockSupport.parkNanos(20_000_000);
    }
  }

  private static void print(String name, double value) {
    System.out.printf(Locale.ROOT, "%s %.3f%n", name, value);
  }
}
