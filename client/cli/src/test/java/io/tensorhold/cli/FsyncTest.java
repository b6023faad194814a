package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Servers as processes under each level of raft.fsync, with entries that go to the payload log. */
@Timeout(300)
class FsyncTest {
  private static final int ELEMENTS = 30_000;

  private static Parameter counter(TensorholdClient client) {
    return client
        .create(
            ModelSpec.newBuilder()
                .setName("counters")
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("c")
                        .setDtype(DType.F32)
                        .addDims(ELEMENTS)
                        .setBlockElements(8192))
                .build())
        .parameter("c");
  }

  private static String[] flags(String fsync) {
    return new String[] {
      "--shards=2", "--memory.budget=64MiB", "--raft.payloads=beside", "--raft.fsync=" + fsync
    };
  }

  @ParameterizedTest
  @ValueSource(strings = {"always", "interval", "never"})
  void nothingAcknowledgedIsLostByAKillUnderAnyLevel(String fsync) throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, flags(fsync));
      try (TensorholdClient client = Replicas.connect(processes)) {
        Parameter counter = counter(client);
        PushStream stream = new PushStream(client, counter);
        for (int round = 0; round < 2; round++) {
          long before = stream.acked.get();
          Replicas.until("acknowledgements", () -> stream.acked.get() > before + 100);
          processes.kill(0);
          processes.restart(0, flags(fsync));
        }
        stream.close();
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
        assertThat(payloadSegments(processes)).isNotEmpty();
      }
    }
  }

  @Test
  void aFlippedBitInAPayloadIsNamedAndTheServerDoesNotStart() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, flags("never"));
      try (TensorholdClient client = Replicas.connect(processes)) {
        PushStream stream = new PushStream(client, counter(client));
        Replicas.until("acknowledgements", () -> stream.acked.get() > 50);
        processes.kill(0);
        Path segment = payloadSegments(processes).getFirst();
        flip(segment, 5000);
        processes.restart(0, flags("never"));
        Replicas.until("the refusal", () -> !processes.alive(0));
        assertThat(processes.log(0)).contains("the record at byte 0 of " + segment);
        flip(segment, 5000);
        processes.restart(0, flags("never"));
        stream.close();
        assertThat(stream.acked.get()).isEqualTo(stream.sent.get());
      }
    }
  }

  private static void flip(Path file, long at) throws IOException {
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      ByteBuffer one = ByteBuffer.allocate(1);
      channel.read(one, at);
      one.put(0, (byte) (one.get(0) ^ 4));
      channel.write(one.rewind(), at);
    }
  }

  /** Segments that hold records, the largest first. */
  private static List<Path> payloadSegments(DemoProcesses processes) throws IOException {
    try (Stream<Path> files = Files.walk(processes.directory().resolve("server-0/raft"))) {
      return files
          .filter(file -> String.valueOf(file.getFileName()).startsWith("payload-"))
          .filter(file -> bytes(file) > 0)
          .sorted((a, b) -> Long.compare(bytes(b), bytes(a)))
          .toList();
    }
  }

  private static long bytes(Path file) {
    try {
      return Files.size(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
