package io.tensorhold.server.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What keeps a server from starting, and what its operator reads then. */
class StartTest {
  @TempDir private Path folder;

  private static String port() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return "127.0.0.1:" + socket.getLocalPort();
    }
  }

  private static TensorholdServer start(Path data, String... more) throws IOException {
    List<String> flags = new ArrayList<>(List.of("--shards=1", "--memory.budget=32MiB"));
    flags.add("--data-dir=" + data);
    flags.add("--listen=" + port());
    flags.add("--raft.listen=" + port());
    flags.addAll(Arrays.asList(more));
    return TensorholdServer.start(ConfigSource.read(flags.toArray(String[]::new), Map.of()));
  }

  @Test
  void dataDirectoryOfAnotherProcess() throws IOException {
    try (TensorholdServer first = start(folder)) {
      assertThat(first.clusterId()).isNotEmpty();
      assertThatThrownBy(() -> start(folder))
          .isInstanceOf(StartFailure.class)
          .hasMessageContaining("held by another process");
    }
  }

  @Test
  void portInUse() throws IOException {
    try (ServerSocket taken = new ServerSocket(0)) {
      assertThatThrownBy(() -> start(folder, "--listen=127.0.0.1:" + taken.getLocalPort()))
          .isInstanceOf(StartFailure.class)
          .hasMessageContaining("listen")
          .hasMessageContaining("in use");
    }
  }

  @Test
  void newerFormat() throws IOException {
    Files.writeString(
        folder.resolve("IDENTITY"), "format=2\nserver-id=a\ncluster-id=b\nshards=1\n");
    assertThatThrownBy(() -> start(folder))
        .isInstanceOf(StartFailure.class)
        .hasMessageContaining("has format 2; this server knows 1");
  }

  @Test
  void dataDirectoryOfAnotherCluster() throws IOException {
    try (TensorholdServer other = start(folder.resolve("other"))) {
      assertThat(other.me().getId()).isNotEmpty();
    }
    try (TensorholdServer here = start(folder.resolve("here"))) {
      assertThatThrownBy(() -> start(folder.resolve("other"), "--join=" + here.me().getAddress()))
          .isInstanceOf(StartFailure.class)
          .hasMessageContaining("another cluster");
    }
  }

  @Test
  void unknownFsync() {
    assertThatThrownBy(() -> start(folder, "--raft.fsync=sometimes"))
        .isInstanceOf(StartFailure.class)
        .hasMessageContaining("raft.fsync: value=\"sometimes\" allowed=always, interval, never");
    assertThatThrownBy(() -> start(folder, "--raft.fsync-interval=0"))
        .isInstanceOf(StartFailure.class)
        .hasMessageContaining("raft.fsync-interval: value=0 allowed=1 or more milliseconds");
    assertThatThrownBy(() -> start(folder, "--raft.payloads=elsewhere"))
        .isInstanceOf(StartFailure.class)
        .hasMessageContaining("raft.payloads: value=\"elsewhere\" allowed=beside, inside");
  }

  @Test
  void unknownKeysAreRefusedWhereverTheyStand() throws IOException {
    assertThatThrownBy(() -> ConfigSource.read(new String[] {"--budget=1GiB"}, Map.of()))
        .hasMessageContaining("flag --budget")
        .hasMessageContaining("memory.budget");
    Path file = Files.writeString(folder.resolve("server.yaml"), "memory:\n  bugdet: 1GiB\n");
    assertThatThrownBy(() -> ConfigSource.read(new String[] {"--config=" + file}, Map.of()))
        .hasMessageContaining("memory.bugdet")
        .hasMessageContaining("server.yaml");
  }

  @Test
  void flagsWinOverEnvironmentAndEnvironmentOverFile() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("server.yaml"),
            "shards: 2\nreplication: 1\nmemory:\n  budget: 1MiB\n  rocksdb-cache: 2MiB\n");
    ServerConfig config =
        ConfigSource.read(
            new String[] {"--config", file.toString(), "--shards", "4"},
            Map.of("TENSORHOLD_SHARDS", "3", "TENSORHOLD_MEMORY_BUDGET", "5MiB"));
    assertThat(config.shards()).isEqualTo(4);
    assertThat(config.memory()).isEqualTo(new ServerConfig.Memory("5MiB", "2MiB"));
    assertThat(config.replication()).isEqualTo(1);
    assertThat(config.raft()).isEqualTo(ServerConfig.DEFAULTS.raft());
  }

  @Test
  void valuesAreChecked() {
    assertThatThrownBy(() -> ConfigSource.read(new String[] {"--shards=0"}, Map.of()))
        .hasMessageContaining("shards: value=0 allowed=1..256");
    assertThatThrownBy(() -> ConfigSource.read(new String[] {"--replication=2"}, Map.of()))
        .hasMessageContaining("replication: value=2 allowed=1, 3 or 5");
    assertThatThrownBy(() -> start(folder, "--memory.budget=lots"))
        .hasMessageContaining("memory.budget: value=\"lots\"");
    assertThatThrownBy(() -> start(folder, "--listen=0.0.0.0:7070"))
        .hasMessageContaining("advertise is missing");
  }

  @Test
  void fullDiskRefusesUntilThereIsAQuarterMoreThanTheReserve() {
    AtomicLong free = new AtomicLong(1000);
    DiskWatch watch = new DiskWatch(free::get, 100, 0);
    assertThat(watch.getAsBoolean()).isFalse();
    free.set(99);
    assertThat(watch.getAsBoolean()).isTrue();
    free.set(110);
    assertThat(watch.getAsBoolean()).isTrue();
    free.set(125);
    assertThat(watch.getAsBoolean()).isFalse();
  }
}
