package io.tensorhold.server.app;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import io.grpc.ManagedChannel;
import io.tensorhold.proto.v1.ClusterGrpc;
import io.tensorhold.proto.v1.GetServerStatusRequest;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.wire.ChannelSettings;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;

/** A damaged database that no other server has a replica of. */
class DamagedAloneTest {
  @TempDir private Path folder;

  private TensorholdServer start(int port, int raftPort) {
    String[] flags = {
      "--data-dir=" + folder,
      "--listen=127.0.0.1:" + port,
      "--raft.listen=127.0.0.1:" + raftPort,
      "--shards=2",
      "--memory.budget=32MiB"
    };
    return TensorholdServer.start(ConfigSource.read(flags, Map.of()));
  }

  @Test
  void shardIsNotServedAndTheLogSaysWhatToRestore() throws Exception {
    int port = StockClientTest.freePort();
    int raftPort = StockClientTest.freePort();
    start(port, raftPort).close();
    Files.writeString(folder.resolve("shards/001/db/CURRENT"), "no manifest");
    CompletableFuture<String> advice = new CompletableFuture<>();
    Logger repair = (Logger) LoggerFactory.getLogger("io.tensorhold.server.raft.ShardRepair");
    AppenderBase<ILoggingEvent> listener =
        new AppenderBase<>() {
          @Override
          protected void append(ILoggingEvent event) {
            advice.complete(event.getFormattedMessage());
          }
        };
    listener.start();
    repair.addAppender(listener);
    ManagedChannel channel = ChannelSettings.client("127.0.0.1", port).build();
    try (TensorholdServer server = start(port, raftPort)) {
      assertThat(server.clusterId()).isNotEmpty();
      List<ReplicaStatus> replicas =
          ClusterGrpc.newBlockingStub(channel)
              .getServerStatus(GetServerStatusRequest.getDefaultInstance())
              .getReplicasList();
      assertThat(replicas).extracting(ReplicaStatus::getRole).containsExactly("leader", "failed");
      assertThat(advice.get(60, TimeUnit.SECONDS))
          .contains("shard 1 has no other replica")
          .contains("restore its data directory from a backup");
    } finally {
      channel.shutdownNow();
      repair.detachAppender(listener);
    }
  }
}
