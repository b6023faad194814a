package io.tensorhold.bench;

import io.tensorhold.client.BlockPayload;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * Streams 1 MiB blocks between this process and a server: pull, push to a CHECKPOINTED model, push
 * to a LOGGED one. Prints one line for each: name, GB/s.
 */
public final class WireBench {
  private static final int BLOCKS = 64;
  private static final int IN_FLIGHT = 32;
  private static final float VALUE = 0.5f;

  private final TensorholdClient client;
  private final double seconds;

  private WireBench(TensorholdClient client, double seconds) {
    this.client = client;
    this.seconds = seconds;
  }

  /** Arguments: servers, seconds of each measurement, seconds of warm-up. */
  public static void main(String[] args) {
    ClientOptions options =
        new ClientOptions(List.of(args[0].split(",", -1))).withDeadline(Duration.ofSeconds(60));
    try (TensorholdClient client = TensorholdClient.connect(options);
        Session session = client.openSession("wire bench");
        Arena arena = Arena.ofShared()) {
      MemorySegment block = arena.allocate(1 << 20);
      for (long i = 0; i < 1 << 18; i++) {
        block.setAtIndex(java.lang.foreign.ValueLayout.JAVA_FLOAT, i, VALUE);
      }
      WireBench warm = new WireBench(client, Double.parseDouble(args[2]));
      WireBench bench = new WireBench(client, Double.parseDouble(args[1]));
      Parameter checkpointed = model(client, "checkpointed", Durability.CHECKPOINTED);
      warm.push(session, checkpointed, block);
      print("push-checkpointed", bench.push(session, checkpointed, block));
      warm.pull(checkpointed);
      print("pull", bench.pull(checkpointed));
      client.delete("checkpointed", false);
      Parameter logged = model(client, "logged", Durability.LOGGED);
      warm.push(session, logged, block);
      print("push-logged", bench.push(session, logged, block));
      client.delete("logged", false);
    }
  }

  private static void print(String name, double gbPerSecond) {
    System.out.printf(Locale.ROOT, "%s %.3f%n", name, gbPerSecond);
  }

  private static Parameter model(TensorholdClient client, String name, Durability durability) {
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName(name)
                .setDurability(durability)
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("w")
                        .setDtype(DType.F32)
                        .addDims((long) BLOCKS << 18))
                .build());
    return model.parameter("w");
  }

  private double pull(Parameter parameter) {
    long[] bytes = {0};
    long started = System.nanoTime();
    while (elapsed(started) < seconds) {
      client.pullModel(
          parameter.model(), null, (header, payload) -> bytes[0] += payload.byteSize());
    }
    return bytes[0] / elapsed(started) / 1e9;
  }

  private double push(Session session, Parameter parameter, MemorySegment block) {
    Semaphore window = new Semaphore(IN_FLIGHT);
    AtomicReference<@Nullable Throwable> failed = new AtomicReference<>();
    long bytes = 0;
    long started = System.nanoTime();
    for (int i = 0; elapsed(started) < seconds && failed.get() == null; i++) {
      window.acquireUninterruptibly();
      var _ =
          session
              .pushBlocks(
                  parameter.model(),
                  Operation.ASSIGN,
                  List.of(new BlockPayload(parameter, i % BLOCKS, Codec.F32, block)))
              .whenComplete(
                  (done, failure) -> {
                    if (failure != null) {
                      failed.set(failure);
                    }
                    window.release();
                  });
      bytes += block.byteSize();
    }
    session.flush();
    return bytes / elapsed(started) / 1e9;
  }

  private static double elapsed(long started) {
    return (System.nanoTime() - started) / 1e9;
  }
}
