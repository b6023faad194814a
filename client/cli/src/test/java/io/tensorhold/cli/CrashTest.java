package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
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
import java.util.Arrays;
import java.util.Comparator;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Servers as processes, killed with -9 while pushes stream. {@code -Dtensorhold.crash.rounds=N}
 * kills more often than 3 times.
 */
@Timeout(300)
class CrashTest {
  private static final int ROUNDS = Integer.getInteger("tensorhold.crash.rounds", 3);
  private static final int ELEMENTS = 3000;
  private static final String[] FLAGS = {
    "--shards=2",
    "--memory.budget=64MiB",
    "--raft.flush-log-bytes=7MiB",
    "--raft.payloads=" + System.getProperty("tensorhold.payloads", "beside")
  };

  private static ModelHandle counters(TensorholdClient client) {
    return client.create(
        ModelSpec.newBuilder()
            .setName("counters")
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("c")
                    .setDtype(DType.F32)
                    .addDims(ELEMENTS)
                    .setBlockElements(256))
            .build());
  }

  @Test
  void everyAcknowledgedPushIsThereOnceAfterKillsAtAnyMoment() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, FLAGS);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Parameter counter = counters(client).parameter("c");
        PushStream stream = new PushStream(client, counter);
        for (int round = 0; round < ROUNDS; round++) {
          long before = stream.acked.get();
          long more = 1L + random.nextInt(200);
          Replicas.until("acknowledgements", () -> stream.acked.get() > before + more);
          processes.kill(0);
          processes.restart(0, FLAGS);
        }
        stream.close();
        float[] values = client.pullFloats(counter);
        assertThat(stream.acked.get()).isEqualTo(stream.sent.get());
        assertThat(values).as("seed %d", seed).containsOnly((float) stream.sent.get());
      }
    }
  }

  @Test
  void streamGoesOnAfterItsLeadersDeath() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, FLAGS);
      try (TensorholdClient client = Replicas.connect(processes)) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        Parameter counter = counters(client).parameter("c");
        PushStream stream = new PushStream(client, counter);
        for (int victim = 0; victim < 2; victim++) {
          long before = stream.acked.get();
          Replicas.until("acknowledgements", () -> stream.acked.get() > before + 50);
          processes.kill(victim);
          long killed = stream.acked.get();
          Replicas.until("the stream to go on", () -> stream.acked.get() > killed + 50);
          processes.restart(victim, FLAGS);
          Replicas.until(
              "the replicas to agree on who is there", () -> client.status(false).size() == 3);
          Replicas.until("the killed server to catch up", () -> Replicas.caughtUp(client));
        }
        stream.close();
        assertThat(client.pullFloats(counter)).containsOnly((float) stream.sent.get());
        Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
      }
    }
  }

  @Test
  void tornLastRecordIsCutAndDamageInTheLogIsRefused() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, "--shards=1", "--memory.budget=64MiB");
      long sent;
      try (TensorholdClient client = Replicas.connect(processes)) {
        Parameter counter = counters(client).parameter("c");
        PushStream stream = new PushStream(client, counter);
        Replicas.until("acknowledgements", () -> stream.acked.get() > 100);
        stream.close();
        sent = stream.sent.get();
        processes.kill(0);
        Path segment = openSegment(processes);
        byte[] torn = new byte[700];
        Arrays.fill(torn, (byte) 0x55);
        torn[0] = (byte) 0xb8; // a record of 3000 bytes, of which 698 were written
        torn[1] = 0x17;
        write(segment, writtenBytes(segment), torn);
        processes.restart(0, "--memory.budget=64MiB");
        assertThat(client.pullFloats(counter)).containsOnly((float) sent);
        assertThat(processes.log(0)).contains("was being written at a kill; it is cut");
      }
      processes.kill(0);
      Path segment = openSegment(processes);
      write(segment, 1000, new byte[] {0x66, 0x66});
      processes.restart(0, "--memory.budget=64MiB");
      Replicas.until("the refusal", () -> !processes.alive(0));
      assertThat(processes.log(0)).contains(segment + " is damaged at byte ");
    }
  }

  /** The segment that the shard's log was writing to. */
  private static Path openSegment(DemoProcesses processes) throws IOException {
    try (java.util.stream.Stream<Path> files =
        Files.walk(processes.directory().resolve("server-0/raft"))) {
      return files
          .filter(file -> String.valueOf(file.getFileName()).startsWith("log_inprogress_"))
          .max(Comparator.comparingLong(CrashTest::writtenBytes))
          .orElseThrow();
    }
  }

  private static long writtenBytes(Path file) {
    try {
      byte[] bytes = Files.readAllBytes(file);
      int end = bytes.length;
      while (end > 0 && bytes[end - 1] == 0) {
        end--;
      }
      return end;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void write(Path file, long at, byte[] bytes) throws IOException {
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
      channel.write(ByteBuffer.wrap(bytes), at);
    }
  }
}
