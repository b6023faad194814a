package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.Server;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A comparison that the replica makes which is wrong: it leads. */
@Timeout(300)
class DifferingLeaderTest {
  private static final int ELEMENTS = 1 << 13;

  /** Flags of the servers that are right: they make no comparison. */
  private static final String[] SILENT = {
    "--shards=1", "--memory.budget=64MiB", "--raft.compare-interval=0"
  };

  private static final String[] COMPARING = {
    "--shards=1", "--memory.budget=64MiB", "--raft.compare-interval=1000"
  };

  @Test
  void leaderWhoseBytesDifferFindsThatOutStepsDownAndIsFetchedAgain() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, SILENT);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Parameter counter =
            client
                .create(
                    ModelSpec.newBuilder()
                        .setName("m")
                        .addParameters(
                            ParameterSpec.newBuilder()
                                .setName("c")
                                .setDtype(DType.F32)
                                .addDims(ELEMENTS)
                                .setBlockElements(ELEMENTS))
                        .build())
                .parameter("c");
        PushStream stream = new PushStream(client, counter);
        Replicas.until("acknowledgements", () -> stream.acked.get() >= 50);
        stream.close();
        long pushes = stream.sent.get();
        Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
        processes.stop(1);
        StoredBlocks.change(
            processes.directory().resolve("server-1"), counter.id(), 0, ELEMENTS, 1);
        processes.restart(1, COMPARING);
        lead(client, processes);
        Replicas.until("the difference to be found", () -> logged(processes, "of most replicas"));
        Replicas.until("the replica to be fetched again", () -> logged(processes, "is mended"));
        Replicas.until("all servers", () -> client.status(false).size() == 3);
        Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
        assertThat(client.pullFloats(counter)).containsOnly((float) pushes);
      }
    }
  }

  private static boolean logged(DemoProcesses processes, String text) {
    try {
      return processes.log(1).contains(text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Has server 1 lead. Its leader hands over to it when nobody else is there; what it logs as the
   * leader then makes it the only one of two that can win the vote when the other comes back.
   */
  private static void lead(TensorholdClient client, DemoProcesses processes) throws Exception {
    Replicas.until("all servers", () -> Replicas.placed(client));
    while (!logged(processes, "of most replicas")) {
      int leader = await(client, processes);
      if (leader == 1) {
        return;
      }
      int third = 2 - leader;
      processes.stop(third);
      processes.stop(leader);
      processes.restart(leader, SILENT);
      await(client, processes);
      processes.restart(third, SILENT);
      Replicas.until("all servers", () -> Replicas.placed(client));
    }
  }

  private static int await(TensorholdClient client, DemoProcesses processes) {
    int[] leader = {-1};
    Replicas.until("a leader", () -> (leader[0] = leader(client, processes)) >= 0);
    return leader[0];
  }

  /** Index of the server that leads; −1 if nobody is known to. */
  private static int leader(TensorholdClient client, DemoProcesses processes) {
    ClusterMap map = client.map();
    String address =
        map.getServersList().stream()
            .filter(one -> one.getId().equals(map.getShards(0).getLeader()))
            .map(Server::getAddress)
            .findFirst()
            .orElse("");
    return IntStream.range(0, 3)
        .filter(i -> processes.address(i).equals(address))
        .findFirst()
        .orElse(-1);
  }
}
