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
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Replicas that the log can't bring up to date: far behind, damaged, on a new disk. */
@Timeout(300)
class CatchUpTest {
  private static final String[] FLAGS = {
    "--shards=2", "--memory.budget=64MiB", "--raft.flush-log-bytes=8MiB", "--raft.keep-entries=4"
  };

  /** 8 MiB in 8 blocks. */
  private static final int ELEMENTS = 8 << 18;

  private static Parameter bigCounter(TensorholdClient client) {
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName("big")
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("c")
                        .setDtype(DType.F32)
                        .addDims(ELEMENTS)
                        .setBlockElements(1 << 18))
                .build());
    return model.parameter("c");
  }

  private static void pushes(PushStream stream, int count) {
    long before = stream.acked.get();
    Replicas.until("acknowledgements", () -> stream.acked.get() >= before + count);
  }

  private static Path shard(DemoProcesses processes, int server, int shard) {
    return processes.directory().resolve("server-%d/shards/%03d".formatted(server, shard));
  }

  private static int count(DemoProcesses processes, int server, String text) {
    try {
      return processes.log(server).split(java.util.regex.Pattern.quote(text), -1).length - 1;
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  private static void untilEqual(TensorholdClient client) {
    Replicas.until("all servers", () -> client.status(false).size() == 3);
    Replicas.until("the log to be applied everywhere", () -> Replicas.caughtUp(client));
    Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
  }

  @Test
  void followerThatMissedMoreThanTheLogHoldsFetchesTheDatabase() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, FLAGS);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Parameter counter = bigCounter(client);
        PushStream stream = new PushStream(client, counter);
        pushes(stream, 2);
        processes.kill(2);
        pushes(stream, 20);
        processes.restart(2, FLAGS);
        Replicas.until("a fetch to begin", () -> count(processes, 2, "fetching shard") > 0);
        processes.kill(2);
        pushes(stream, 10);
        processes.restart(2, FLAGS);
        stream.close();
        untilEqual(client);
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
        assertThat(shard(processes, 2, 0).resolve("received")).doesNotExist();
      }
    }
  }

  @Test
  void damagedReplicasAreNamedAndMended() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, FLAGS);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Parameter counter = bigCounter(client);
        PushStream stream = new PushStream(client, counter);
        pushes(stream, 10);
        stream.close();
        processes.kill(1);
        flipBytes(shard(processes, 1, 0).resolve("db"));
        delete(shard(processes, 1, 1).resolve("db"));
        processes.restart(1, FLAGS);
        Replicas.until("all servers", () -> client.status(true).size() == 3);
        Replicas.until(
            "two mended shards",
            () -> {
              client.status(true);
              return count(processes, 1, "is mended") == 2;
            });
        assertThat(processes.log(1))
            .containsPattern("shard 0 is damaged.*server-1/shards/000/db/\\d+\\.sst")
            .containsPattern("shard 1 is damaged.*server-1/shards/001/db ends at index -1");
        untilEqual(client);
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
      }
    }
  }

  private static void flipBytes(Path database) throws IOException {
    try (Stream<Path> files = Files.list(database)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".sst")).toList()) {
        try (FileChannel channel =
            FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
          for (long at = 1000; at < channel.size() - 100_000; at += 100_000) {
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
  void streamGoesOnWithoutAnElectionWhenItsLeaderIsStopped() throws Exception {
    List<String> patient =
        List.of("--raft.election-timeout-min=8000", "--raft.election-timeout-max=9000");
    String[] flags = Stream.concat(Stream.of(FLAGS), patient.stream()).toArray(String[]::new);
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, flags);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Parameter counter = bigCounter(client);
        PushStream stream = new PushStream(client, counter);
        pushes(stream, 2);
        Replicas.until("heartbeats to tell of the session", () -> catalogsAgree(client));
        stream.longestGap.set(0);
        processes.stop(0);
        pushes(stream, 3);
        assertThat(Duration.ofNanos(stream.longestGap.get()))
            .as("an election would have begun after 8 s")
            .isLessThan(Duration.ofSeconds(7));
        stream.close();
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
      }
    }
  }

  private static boolean catalogsAgree(TensorholdClient client) {
    return client.status(false).values().stream()
            .map(server -> server.getCatalog().getAppliedIndex())
            .distinct()
            .count()
        == 1;
  }

  @Test
  void serversThatLostTheirDiskComeBackAsNewMembers() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, FLAGS);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Parameter counter = bigCounter(client);
        PushStream stream = new PushStream(client, counter);
        pushes(stream, 10);

        String founder = idOf(client, processes.address(0));
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
        assertThat(idOf(client, processes.address(0))).isNotEqualTo(founder);

        String lost = idOf(client, processes.address(2));
        processes.kill(2);
        delete(processes.directory().resolve("server-2"));
        assertThat(Main.run("remove-server", lost, "--servers", processes.servers())).isZero();
        pushes(stream, 5);
        processes.restart(2, FLAGS);
        Replicas.until("a third member", () -> settledWithout(client, lost));
        assertThat(idOf(client, processes.address(2))).isNotEqualTo(lost);
        stream.close();
        untilEqual(client);
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
      }
    }
  }

  /** Whether every log, the catalog's too, has three voters, and the server is none of them. */
  private static boolean settledWithout(TensorholdClient client, String server) {
    return Replicas.placed(client)
        && client.status(false).values().stream()
            .flatMap(s -> Stream.concat(s.getReplicasList().stream(), Stream.of(s.getCatalog())))
            .map(ReplicaStatus::getMembersList)
            .allMatch(members -> members.size() == 3 && !members.contains(server));
  }

  private static String idOf(TensorholdClient client, String address) {
    return client.map().getServersList().stream()
        .filter(server -> server.getAddress().equals(address))
        .map(io.tensorhold.proto.v1.Server::getId)
        .findFirst()
        .orElseThrow();
  }
}
