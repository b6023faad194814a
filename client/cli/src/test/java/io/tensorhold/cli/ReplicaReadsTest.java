package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Reader;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlocksGrpc;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.proto.v1.PullResponse;
import io.tensorhold.proto.v1.ServerStatus;
import io.tensorhold.wire.ChannelSettings;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Pulls that a follower answers: never older than asked for, whatever stops or is cut off. */
@Timeout(300)
class ReplicaReadsTest {
  private static final int BOUND_MILLIS = 300;

  private final DemoProcesses processes;
  private TensorholdClient client;
  private Parameter counter;

  /** When the client had heard of how many pushes. */
  private final ConcurrentSkipListMap<Long, Long> acknowledged = new ConcurrentSkipListMap<>();

  private final AtomicLong acks = new AtomicLong();

  ReplicaReadsTest() throws IOException {
    processes = new DemoProcesses();
  }

  @BeforeEach
  void start() throws IOException {
    processes.startServers(3, "--shards=1", "--memory.budget=64MiB");
    client = Replicas.connect(processes);
    Replicas.until("three replicas", () -> Replicas.placed(client));
    counter = create("counted", Durability.LOGGED).parameter("c");
    push(counter);
  }

  @AfterEach
  void stop() {
    client.close();
    processes.close();
  }

  private ModelHandle create(String name, Durability durability) {
    return client.create(
        ModelSpec.newBuilder()
            .setName(name)
            .setDurability(durability)
            .addParameters(ParameterSpec.newBuilder().setName("c").setDtype(DType.F32).addDims(256))
            .build());
  }

  private void push(Parameter parameter) {
    float[] ones = new float[256];
    Arrays.fill(ones, 1);
    try (Session session = client.openSession("reads test")) {
      session.push(parameter, Operation.ADD, Codec.F32, MemorySegment.ofArray(ones)).join();
    }
    acknowledged.put(System.nanoTime(), acks.incrementAndGet());
  }

  /** Index of a server that does not lead the shard. */
  private int follower() {
    ClusterMap map = client.map();
    for (int i = 0; i < 3; i++) {
      if (!processes.address(i).equals(leaderAddress(map))) {
        return i;
      }
    }
    throw new AssertionError();
  }

  private static String leaderAddress(ClusterMap map) {
    return map.getServersList().stream()
        .filter(server -> server.getId().equals(map.getShards(0).getLeader()))
        .findFirst()
        .orElseThrow()
        .getAddress();
  }

  private ManagedChannel channel(int server) {
    String address = processes.address(server);
    int colon = address.lastIndexOf(':');
    return ChannelSettings.client(
            address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)))
        .build();
  }

  /** One pull from one server, as any gRPC client makes it. */
  private static float pull(ManagedChannel server, Parameter parameter, int maxStalenessMillis) {
    PullRequest request =
        PullRequest.newBuilder()
            .setModelId(parameter.model().id())
            .setCatalogIndex(parameter.model().model().getCatalogIndex())
            .setMaxStalenessMs(maxStalenessMillis)
            .addBlocks(TensorholdClient.range(parameter, 0, 1))
            .build();
    PullResponse answer =
        BlocksGrpc.newBlockingStub(server)
            .withDeadlineAfter(60, TimeUnit.SECONDS)
            .pull(request)
            .next();
    return answer.getPayload().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).getFloat();
  }

  private static String refusal(ManagedChannel server, Parameter parameter, int millis) {
    try {
      pull(server, parameter, millis);
      return "";
    } catch (StatusRuntimeException e) {
      return TensorholdException.of(StatusProto.fromThrowable(e)).reason();
    }
  }

  private float notOlderThan(long since) {
    var entry = acknowledged.floorEntry(since - TimeUnit.MILLISECONDS.toNanos(BOUND_MILLIS));
    return entry == null ? 0 : entry.getValue();
  }

  private long fromFollowers() {
    return client.status(false).values().stream()
        .mapToLong(ServerStatus::getFollowerPulledBytes)
        .sum();
  }

  @Test
  void onlyTheLeaderAnswersUnlessAStalenessIsAllowed() {
    ManagedChannel channel = channel(follower());
    try {
      assertThat(refusal(channel, counter, 0)).isEqualTo("NOT_LEADER");
      Replicas.until("an answer", () -> refusal(channel, counter, BOUND_MILLIS).isEmpty());
      assertThat(fromFollowers()).isPositive();

      Parameter unlogged = create("unlogged", Durability.CHECKPOINTED).parameter("c");
      push(unlogged);
      assertThat(refusal(channel, unlogged, BOUND_MILLIS)).isEqualTo("NOT_LEADER");
      Reader reader = client.reader(Duration.ofMillis(BOUND_MILLIS));
      assertThat(reader.pullFloats(unlogged)).containsOnly(1);
    } finally {
      channel.shutdownNow();
    }
  }

  @Test
  void readerSpreadsPullsOverReplicasAndTheCommandDoes() {
    Reader reader = client.reader(Duration.ofMillis(BOUND_MILLIS));
    Replicas.until(
        "followers to answer",
        () -> {
          assertThat(reader.pullFloats(counter)).containsOnly(1);
          return fromFollowers() > 0;
        });
    long before = fromFollowers();
    Replicas.until(
        "followers to answer the command",
        () -> {
          assertThat(
                  Main.run(
                      "pull", "counted", "c", "--max-staleness=500ms", "-s", processes.servers()))
              .isZero();
          return fromFollowers() > before;
        });
  }

  @Test
  void stalenessThatIsNoTimeIsRefused() {
    for (String wrong : new String[] {"500", "-1s", "1d", "1.5s", "2000m"}) {
      assertThat(Main.run("pull", "counted", "c", "--max-staleness=" + wrong)).isEqualTo(2);
    }
  }

  @Test
  void followerThatWasPausedNeverAnswersWithOlderValuesThanAllowed() throws Exception {
    int paused = follower();
    ManagedChannel channel = channel(paused);
    AtomicLong answers = new AtomicLong();
    AtomicLong violations = new AtomicLong();
    Thread direct =
        Thread.ofPlatform()
            .start(
                () -> {
                  while (!Thread.currentThread().isInterrupted()) {
                    long called = System.nanoTime();
                    try {
                      if (pull(channel, counter, BOUND_MILLIS) < notOlderThan(called)) {
                        violations.incrementAndGet();
                      }
                      answers.incrementAndGet();
                    } catch (StatusRuntimeException refused) {
                      // It says that it can't be sure.
                    }
                  }
                });
    try {
      Reader reader = client.reader(Duration.ofMillis(BOUND_MILLIS));
      for (int round = 0; round < 3; round++) {
        long before = answers.get();
        Replicas.until(
            "answers of the follower",
            () -> {
              push(counter);
              return answers.get() > before + 20;
            });
        processes.pause(paused);
        long stopped = System.nanoTime();
        Replicas.until(
            "pushes while it is paused",
            () -> {
              push(counter);
              long called = System.nanoTime();
              assertThat(reader.pullFloats(counter)[0])
                  .isGreaterThanOrEqualTo(notOlderThan(called));
              return System.nanoTime() - stopped > TimeUnit.MILLISECONDS.toNanos(4 * BOUND_MILLIS);
            });
        processes.resume(paused);
      }
      long before = answers.get();
      Replicas.until("answers of the follower", () -> answers.get() > before + 20);
    } finally {
      direct.interrupt();
      direct.join();
      channel.shutdownNow();
    }
    assertThat(violations).hasValue(0);
  }

  @Test
  void followerThatIsCutOffRefusesOnceTheBoundHasPassed() throws Exception {
    int alone = follower();
    ManagedChannel channel = channel(alone);
    try {
      Replicas.until("an answer", () -> refusal(channel, counter, BOUND_MILLIS).isEmpty());
      for (int i = 0; i < 3; i++) {
        if (i != alone) {
          processes.pause(i);
        }
      }
      Replicas.until(
          "a refusal", () -> refusal(channel, counter, BOUND_MILLIS).equals("REPLICA_STALE"));
      assertThat(refusal(channel, counter, BOUND_MILLIS)).isEqualTo("REPLICA_STALE");
      assertThat(pull(channel, counter, 3_600_000)).isEqualTo(1);
      for (int i = 0; i < 3; i++) {
        if (i != alone) {
          processes.resume(i);
        }
      }
      Replicas.until("an answer", () -> refusal(channel, counter, BOUND_MILLIS).isEmpty());
    } finally {
      channel.shutdownNow();
    }
  }
}
