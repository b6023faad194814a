package io.tensorhold.cli;

import io.tensorhold.client.TensorholdClient;
import io.tensorhold.server.app.ServerConfig;
import io.tensorhold.server.app.TensorholdServer;
import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Path;

/** A server in this process, for tests that kill nobody. */
final class LocalServer implements AutoCloseable {
  private final String address;
  private final TensorholdServer server;

  LocalServer(Path data, String memoryBudget) throws IOException {
    this(data, memoryBudget, "1MiB");
  }

  LocalServer(Path data, String memoryBudget, String reserve) throws IOException {
    this(data, memoryBudget, reserve, 4);
  }

  LocalServer(Path data, String memoryBudget, String reserve, int shards) throws IOException {
    this(data, memoryBudget, reserve, shards, ServerConfig.DEFAULTS.tls());
  }

  LocalServer(Path data, ServerConfig.Tls tls) throws IOException {
    this(data, "64MiB", "1MiB", 4, tls);
  }

  private LocalServer(
      Path data, String memoryBudget, String reserve, int shards, ServerConfig.Tls tls)
      throws IOException {
    address = "127.0.0.1:" + freePort();
    ServerConfig d = ServerConfig.DEFAULTS;
    server =
        TensorholdServer.start(
            new ServerConfig(
                data.toString(),
                address,
                "",
                true,
                "",
                shards,
                1,
                new ServerConfig.Raft(
                    "127.0.0.1:" + freePort(),
                    "",
                    1000,
                    2000,
                    "64MiB",
                    64,
                    0,
                    "always",
                    1000,
                    "inside"),
                tls,
                new ServerConfig.Memory(memoryBudget, "8MiB"),
                new ServerConfig.Disk(reserve),
                d.training(),
                d.metrics()));
  }

  static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  String address() {
    return address;
  }

  TensorholdClient connect() {
    return TensorholdClient.connect(address);
  }

  @Override
  public void close() {
    server.close();
  }
}
