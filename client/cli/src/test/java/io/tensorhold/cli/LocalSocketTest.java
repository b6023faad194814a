package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Clients on a server's host reach it over its Unix domain socket, if it is that server's. */
@Timeout(120)
class LocalSocketTest {
  @TempDir private Path folder;

  private static void serves(TensorholdClient client) {
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName("m")
                .addParameters(
                    ParameterSpec.newBuilder().setName("w").setDtype(DType.F32).addDims(1 << 20))
                .build());
    assertThat(client.pullFloats(model.parameter("w"))).containsOnly(0);
    client.delete("m", false);
  }

  @Test
  void clientOnTheHostUsesTheSocketByItself() throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect()) {
      assertThat(client.localServers()).containsExactly(server.address());
      serves(client);
    }
  }

  @Test
  void socketOfAnotherServerAtTheSamePathIsNotUsed() throws Exception {
    Path here = folder.resolve("here");
    Path other = folder.resolve("other");
    try (LocalServer server = new LocalServer(here, "64MiB");
        LocalServer another = new LocalServer(other, "64MiB")) {
      Files.delete(here.resolve("api.sock"));
      Files.createSymbolicLink(here.resolve("api.sock"), other.resolve("api.sock"));
      try (TensorholdClient client = server.connect();
          TensorholdClient toAnother = another.connect()) {
        assertThat(toAnother.localServers()).containsExactly(another.address());
        assertThat(client.localServers()).isEmpty();
        serves(client);
      }
    }
  }

  @Test
  void socketThatNobodyListensAtLeavesTcp() throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB")) {
      Files.delete(folder.resolve("api.sock"));
      Files.createFile(folder.resolve("api.sock"));
      try (TensorholdClient client = server.connect()) {
        assertThat(client.localServers()).isEmpty();
        serves(client);
      }
    }
  }

  @Test
  void serverThatComesBackWithoutItsSocketIsReachedOverTcp() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, "--shards=1", "--memory.budget=64MiB");
      try (TensorholdClient client = Replicas.connect(processes)) {
        assertThat(client.localServers()).containsExactly(processes.address(0));
        processes.kill(0);
        processes.restart(0, "--memory.budget=64MiB", "--local-socket=false");
        serves(client);
        assertThat(client.localServers()).isEmpty();
      }
    }
  }
}
