package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * A server that hangs, as one whose network is cut: its connections stay open and nothing comes.
 * What waits for it goes to the next leaders, long before a connection is given up for dead.
 */
@Timeout(300)
class SilentLeaderTest {
  private static final int KEEP_ALIVE_SECONDS = 30;

  @Test
  void whatWaitsForALeaderThatHangsGoesToTheNext() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, "--shards=2", "--memory.budget=64MiB", "--local-socket=false");
      try (TensorholdClient client = Replicas.connect(processes);
          TensorholdClient puller = Replicas.connect(processes);
          TensorholdClient rowPuller = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        ModelHandle model = client.create(spec());
        Parameter counter = model.parameter("c");
        Table rows = model.table("rows");
        PushStream stream = new PushStream(client, counter);
        Replicas.until("acknowledgements", () -> stream.acked.get() >= 50);
        puller.pullFloats(counter);
        RowsTest.pull(rowPuller, rows, 1, 2, 3, 4, 5, 6, 7, 8);

        int hanging = leader(client.map(), processes);
        processes.pause(hanging);
        List<CompletableFuture<?>> pulls =
            List.of(
                CompletableFuture.supplyAsync(() -> puller.pullFloats(counter)),
                rowPuller.pullRows(
                    rows, new long[] {1, 2, 3, 4, 5, 6, 7, 8}, new float[8 * rows.dim()]));
        for (CompletableFuture<?> pull : pulls) {
          pull.get(KEEP_ALIVE_SECONDS - 10, TimeUnit.SECONDS);
        }
        long before = stream.acked.get();
        Replicas.until("pushes beside it", () -> stream.acked.get() >= before + 50);
        processes.resume(hanging);

        stream.close();
        assertThat(stream.acked.get()).isEqualTo(stream.sent.get());
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
        Replicas.until("equal replicas", () -> Replicas.checksumsAgree(client));
      }
    }
  }

  private static ModelSpec spec() {
    ModelSpec.Builder model = RowsTest.spec("m", Durability.LOGGED);
    model
        .addParametersBuilder()
        .setName("c")
        .setDtype(DType.F32)
        .addDims(256)
        .setBlockElements(256);
    return model.build();
  }

  private static int leader(ClusterMap map, DemoProcesses processes) {
    String leader = map.getShards(0).getLeader();
    String address =
        map.getServersList().stream()
            .filter(server -> server.getId().equals(leader))
            .findFirst()
            .orElseThrow()
            .getAddress();
    return Stream.of(0, 1, 2)
        .filter(server -> processes.address(server).equals(address))
        .findFirst()
        .orElseThrow();
  }
}
