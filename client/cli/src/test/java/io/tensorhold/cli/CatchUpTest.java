package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.ReplicaStatus;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.Timeout;

/**
 * Replicas that the log can't bring up to date: far behind, damaged, different, on a new disk. One
 * cluster goes through all of it, in this order; each scenario ends with equal replicas.
 */
@Timeout(300)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class CatchUpTest {
  private static final String[] FLAGS = {
    "--shards=2",
    "--memory.budget=64MiB",
    "--raft.flush-log-bytes=7MiB",
    "--raft.keep-entries=4",
    "--raft.payloads=" + System.getProperty("tensorhold.payloads", "beside"),
    "--raft.compare-interval=2000"
  };

  /** 256 KiB in 8 blocks. */
  private static final int ELEMENTS = 8 << 13;

  private final DemoProcesses processes;
  private TensorholdClient client;
  private Parameter counter;
  private PushStream stream;
  private long expected;

  CatchUpTest() throws IOException {
    processes = new DemoProcesses();
  }

  @BeforeAll
  void start() throws IOException {
    processes.startServers(3, FLAGS);
    client = Replicas.connect(processes);
    Replicas.until("three replicas", () -> Replicas.placed(client));
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName("big")
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("c")
                        .setDtype(DType.F32)
                        .addDims(ELEMENTS)
                        .setBlockElements(1 << 13))
                .build());
    counter = model.parameter("c");
  }

  @AfterAll
  void stop() {
    client.close();
    processes.close();
  }

  private void pushes(int count) {
    long before = stream.acked.get();
    Replicas.until("acknowledgements", () -> stream.acked.get() >= before + count);
  }

  private Path shard(int server, int shard) {
    return processes.directory().resolve("server-%d/shards/%03d".formatted(server, shard));
  }

  private int count(int server, String text) {
    try {
      return processes.log(server).split(Pattern.quote(text), -1).length - 1;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Ends the stream; whatever was sent is there once, and everywhere. */
  private void endsEqual() {
    stream.close();
    expected += stream.sent.get();
    untilEqual();
    assertThat(client.pullFloats(counter)).containsOnly((float) expected);
  }

  private void untilEqual() {
    Replicas.until("all servers", () -> client.status(false).size() == 3);
    Replicas.until("the log to be applied everywhere", () -> Replicas.caughtUp(client));
    Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
  }

  /** Waits until a server's shards have cut their logs after what was written so far. */
  private void untilCut(int server) {
    long last =
        client.status(false).values().stream()
            .flatMap(status -> status.getReplicasList().stream())
            .mapToLong(ReplicaStatus::getAppliedIndex)
            .max()
            .orElseThrow();
    Path logs = processes.directory().resolve("server-%d/raft".formatted(server));
    Replicas.until("two logs to be cut", () -> logsFrom(logs, last + 1) == 2);
  }

  private static long logsFrom(Path logs, long index) {
    Pattern segment = Pattern.compile("log_(?:inprogress_)?(\\d+).*");
    try (Stream<Path> groups = Files.list(logs)) {
      long cut = 0;
      for (Path group : groups.map(group -> group.resolve("current")).toList()) {
        try (Stream<Path> files = Files.list(group)) {
          long first =
              files
                  .map(file -> segment.matcher(String.valueOf(file.getFileName())))
                  .filter(Matcher::matches)
                  .mapToLong(name -> Long.parseLong(name.group(1)))
                  .min()
                  .orElse(0);
          cut += first > index ? 1 : 0;
        }
      }
      return cut;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  @Order(1)
  void followerThatMissedMoreThanTheLogHoldsFetchesTheDatabase() throws Exception {
    stream = new PushStream(client, counter);
    pushes(2);
    processes.kill(2);
    untilCut(0);
    untilCut(1);
    processes.restart(2, FLAGS);
    Replicas.until("a fetch to begin", () -> count(2, "fetching shard") > 0);
    processes.kill(2);
    pushes(10);
    processes.restart(2, FLAGS);
    endsEqual();
    assertThat(shard(2, 0).resolve("received")).doesNotExist();
  }

  @Test
  @Order(2)
  void damagedReplicasAreNamedAndMended() throws Exception {
    stream = new PushStream(client, counter);
    pushes(10);
    processes.kill(1);
    flipBytes(shard(1, 0).resolve("db"));
    delete(shard(1, 1).resolve("db"));
    processes.restart(1, FLAGS);
    Replicas.until("all servers", () -> client.status(true).size() == 3);
    Replicas.until(
        "two mended shards",
        () -> {
          client.status(true);
          return count(1, "is mended") >= 2;
        });
    assertThat(processes.log(1))
        .containsPattern("shard 0 is damaged.*server-1/shards/000/db/\\d+\\.sst")
        .containsPattern("shard 1 is damaged.*server-1/shards/001/db ends at index -1");
    endsEqual();
  }

  private static void flipBytes(Path database) throws IOException {
    try (Stream<Path> files = Files.list(database)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".sst")).toList()) {
        try (FileChannel channel =
            FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
          for (long at = 1000; at < channel.size() - 10_000; at += 10_000) {
            ByteBuffer one = ByteBuffer.allocate(1);
            channel.read(one, at);
            one.put(0, (byte) (one.get(0) ^ 0x10)).rewind();
            channel.write(one, at);
          }
        }
      }
    }
  }

  private static void delete(Path tree) throws IOException {
    try (Stream<Path> all = Files.walk(tree)) {
      for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    }
  }

  @Test
  @Order(3)
  void replicaWithOtherBytesIsFoundAndFetchedAgain() throws Exception {
    stream = new PushStream(client, counter);
    pushes(10);
    endsEqual();
    processes.kill(1);
    String mended =
        "shard %d is mended"
            .formatted(
                StoredBlocks.change(
                    processes.directory().resolve("server-1"), counter.id(), 0, 1 << 13, 2));
    int before = count(1, mended);
    processes.restart(1, FLAGS);
    Replicas.until("the difference to be found", () -> count(1, "that of most replicas") > 0);
    Replicas.until("the replica to be fetched again", () -> count(1, mended) > before);
    assertThat(client.status(false).get(idOf(processes.address(1))).getReplicasRefetched())
        .isEqualTo(1);
    untilEqual();
    assertThat(client.pullFloats(counter)).containsOnly((float) expected);
  }

  @Test
  @Order(4)
  void leaderThatIsStoppedHandsOver() throws Exception {
    int leader = serverThatLeads(0);
    stream = new PushStream(client, counter);
    pushes(2);
    processes.stop(leader);
    assertThat(processes.log(leader)).containsPattern("is handed over to server");
    pushes(20);
    processes.restart(leader, FLAGS);
    endsEqual();
  }

  private int serverThatLeads(int shard) {
    String leader = client.map().getShards(shard).getLeader();
    return List.of(0, 1, 2).stream()
        .filter(server -> idOf(processes.address(server)).equals(leader))
        .findFirst()
        .orElseThrow();
  }

  @Test
  @Order(5)
  void serversThatLostTheirDiskComeBackAsNewMembers() throws Exception {
    stream = new PushStream(client, counter);
    pushes(10);
    String founder = idOf(processes.address(0));
    processes.kill(0);
    delete(processes.directory().resolve("server-0/raft"));
    delete(processes.directory().resolve("server-0/shards"));
    processes.restart(0, FLAGS);
    Replicas.until("the refusal", () -> !processes.alive(0));
    assertThat(processes.log(0)).contains("it must not vote without them");
    String[] joining =
        Stream.concat(Stream.of(FLAGS), Stream.of("--join=" + processes.address(1)))
            .toArray(String[]::new);
    processes.restart(0, joining);
    Replicas.until("three replicas again", () -> settledWithout(client, founder));
    assertThat(idOf(processes.address(0))).isNotEqualTo(founder);

    String lost = idOf(processes.address(2));
    processes.kill(2);
    delete(processes.directory().resolve("server-2"));
    assertThat(Main.run("remove-server", lost, "--servers", processes.servers())).isZero();
    pushes(5);
    processes.restart(2, FLAGS);
    Replicas.until("a third member", () -> settledWithout(client, lost));
    assertThat(idOf(processes.address(2))).isNotEqualTo(lost);
    endsEqual();
  }

  /** Whether every log, the catalog's too, has three voters, and the server is none of them. */
  private static boolean settledWithout(TensorholdClient client, String server) {
    return Replicas.placed(client)
        && client.status(false).values().stream()
            .flatMap(s -> Stream.concat(s.getReplicasList().stream(), Stream.of(s.getCatalog())))
            .map(ReplicaStatus::getMembersList)
            .allMatch(members -> members.size() == 3 && !members.contains(server));
  }

  private String idOf(String address) {
    return client.map().getServersList().stream()
        .filter(server -> server.getAddress().equals(address))
        .map(io.tensorhold.proto.v1.Server::getId)
        .findFirst()
        .orElseThrow();
  }
}
