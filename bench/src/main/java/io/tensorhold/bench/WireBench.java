package io.tensorhold.bench;

import com.sun.management.ThreadMXBean;
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
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * Streams blocks between this process and a server: pull, push to a CHECKPOINTED model, push to a
 * LOGGED one, at 1 MiB and at 256 KiB; and pulls a small tensor, one call after another. Prints
 * lines of a name and a value: GB/s, CPU seconds of both processes for each GB, bytes that this
 * process allocates on its heap for each MiB, microseconds.
 */
public final class WireBench {
  private static final long MODEL_BYTES = 64L << 20;
  private static final long IN_FLIGHT_BYTES = 32L << 20;
  private static final float VALUE = 0.5f;
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private final TensorholdClient client;
  private final ProcessHandle server;
  private final double seconds;
  private final double warmup;

  private WireBench(TensorholdClient client, ProcessHandle server, double seconds, double warmup) {
    this.client = client;
    this.server = server;
    this.seconds = seconds;
    this.warmup = warmup;
  }

  /**
   * Arguments: servers, the server's process id, seconds of each measurement, of each warm-up; with
   * a fifth, "logged", only pushes to a LOGGED model are measured, with "unlogged" all but those.
   */
  public static void main(String[] args) {
    ClientOptions options =
        new ClientOptions(List.of(args[0].split(",", -1))).withDeadline(Duration.ofSeconds(60));
    try (TensorholdClient client = TensorholdClient.connect(options);
        Session session = client.openSession("wire bench");
        Arena arena = Arena.ofShared()) {
      WireBench bench =
          new WireBench(
              client,
              ProcessHandle.of(Long.parseLong(args[1])).orElseThrow(),
              Double.parseDouble(args[2]),
              Double.parseDouble(args[3]));
      MemorySegment block = arena.allocate(1 << 20);
      for (long i = 0; i < 1 << 18; i++) {
        block.setAtIndex(ValueLayout.JAVA_FLOAT, i, VALUE);
      }
      String which = args.length > 4 ? args[4] : "";
      if (which.equals("logged")) {
        bench.logged(session, block);
      } else {
        bench.blocks(session, block, "");
        if (which.isEmpty()) {
          bench.logged(session, block);
        }
        bench.blocks(session, block.asSlice(0, 256 << 10), "-256k");
        bench.small();
      }
    }
  }

  private void blocks(Session session, MemorySegment block, String suffix) {
    Parameter checkpointed = model("checkpointed", Durability.CHECKPOINTED, block.byteSize());
    measure("push-checkpointed" + suffix, time -> push(session, checkpointed, block, time));
    measure("pull" + suffix, time -> pull(checkpointed, time));
    client.delete("checkpointed", false);
  }

  private void logged(Session session, MemorySegment block) {
    Parameter logged = model("logged", Durability.LOGGED, block.byteSize());
    measure("push-logged", time -> push(session, logged, block, time));
    client.delete("logged", false);
  }

  /** Moves blocks for so many seconds; gives the bytes. */
  private interface Work {
    long run(double seconds);
  }

  private void measure(String name, Work work) {
    work.run(warmup);
    double cpu = cpuSeconds();
    long allocated = THREADS.getTotalThreadAllocatedBytes();
    long started = System.nanoTime();
    double gigabytes = work.run(seconds) / 1e9;
    print(name + "-gbs", gigabytes / elapsed(started));
    print(name + "-cpu-s-per-gb", (cpuSeconds() - cpu) / gigabytes);
    print(
        name + "-client-allocated-bytes-per-mib",
        (THREADS.getTotalThreadAllocatedBytes() - allocated) / (gigabytes * 1e9 / (1 << 20)));
  }

  private double cpuSeconds() {
    double sum = 0;
    for (ProcessHandle process : List.of(server, ProcessHandle.current())) {
      sum += process.info().totalCpuDuration().orElse(Duration.ZERO).toNanos() / 1e9;
    }
    return sum;
  }

  private static void print(String name, double value) {
    System.out.printf(Locale.ROOT, "%s %.3f%n", name, value);
  }

  private Parameter model(String name, Durability durability, long blockBytes) {
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName(name)
                .setDurability(durability)
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("w")
                        .setDtype(DType.F32)
                        .setBlockElements((int) (blockBytes / 4))
                        .addDims(MODEL_BYTES / 4))
                .build());
    return model.parameter("w");
  }

  private long pull(Parameter parameter, double time) {
    long[] bytes = {0};
    long started = System.nanoTime();
    while (elapsed(started) < time) {
      client.pullModel(
          parameter.model(), null, (header, payload) -> bytes[0] += payload.byteSize());
    }
    return bytes[0];
  }

  private long push(Session session, Parameter parameter, MemorySegment block, double time) {
    Semaphore window = new Semaphore((int) (IN_FLIGHT_BYTES / block.byteSize()));
    AtomicReference<@Nullable Throwable> failed = new AtomicReference<>();
    long bytes = 0;
    int blocks = parameter.blocks();
    long started = System.nanoTime();
    for (int i = 0; elapsed(started) < time && failed.get() == null; i++) {
      window.acquireUninterruptibly();
      var _ =
          session
              .pushBlocks(
                  parameter.model(),
                  Operation.ASSIGN,
                  List.of(new BlockPayload(parameter, i % blocks, Codec.F32, block)))
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
    return bytes;
  }

  /** Latency of a pull of 25 floats, one at a time. */
  private void small() {
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName("small")
                .addParameters(
                    ParameterSpec.newBuilder().setName("w").setDtype(DType.F32).addDims(25))
                .build());
    Parameter parameter = model.parameter("w");
    MemorySegment target = MemorySegment.ofArray(new float[25]);
    long[] nanos = new long[1 << 20];
    int count = 0;
    long started = System.nanoTime();
    boolean warm = false;
    while (elapsed(started) < seconds + warmup && count < nanos.length) {
      if (!warm && elapsed(started) > warmup) {
        warm = true;
        count = 0;
      }
      long from = System.nanoTime();
      client.pull(parameter, null, target);
      nanos[count++] = System.nanoTime() - from;
    }
    Arrays.sort(nanos, 0, count);
    print("small-pull-p50-us", nanos[count / 2] / 1e3);
    print("small-pull-p99-us", nanos[(int) (count * 0.99)] / 1e3);
    client.delete("small", false);
  }

  private static double elapsed(long started) {
    return (System.nanoTime() - started) / 1e9;
  }
}
