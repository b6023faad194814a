package io.tensorhold.bench;

import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.Operation;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.locks.LockSupport;

/**
 * A worker of {@code deploy/lab/fire}: it pushes ones, each push to a row of its own and to a
 * common row, and keeps a ledger that outlives it.
 *
 * <p>Ledger, a line each, in the order of events: {@code S ROW MILLIS} before the row is sent,
 * {@code A ROW MILLIS} when both pushes were acknowledged, {@code F ROW MILLIS REASON} when one
 * failed. A row that was sent and neither acknowledged nor failed is in doubt: it may hold one or
 * zero. What a killed process has written is in the page cache, and stays.
 */
public final class LedgerWorker {
  private static final int WINDOW = 16;

  private final FileChannel ledger;

  private LedgerWorker(FileChannel ledger) {
    this.ledger = ledger;
  }

  /** Arguments: servers, model, ledger file, first row, rows, rows a second, file that ends it. */
  public static void main(String[] args) throws IOException {
    ClientOptions options =
        new ClientOptions(List.of(args[0].split(",", -1))).withDeadline(Duration.ofMinutes(3));
    try (FileChannel ledger =
            FileChannel.open(
                Path.of(args[2]), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        TensorholdClient client = TensorholdClient.connect(options);
        Session session = client.openSession("ledger " + Path.of(args[2]).getFileName())) {
      new LedgerWorker(ledger)
          .run(
              session,
              client.model(args[1]),
              Long.parseLong(args[3]),
              Long.parseLong(args[4]),
              Double.parseDouble(args[5]),
              Path.of(args[6]));
    }
  }

  private void run(
      Session session, ModelHandle model, long first, long rows, double perSecond, Path stop) {
    Parameter once = model.parameter("once");
    Parameter sum = model.parameter("sum");
    long width = once.shape().dim(1);
    float[] values = new float[Math.toIntExact(width)];
    Arrays.fill(values, 1);
    MemorySegment ones = MemorySegment.ofArray(values);
    Semaphore window = new Semaphore(WINDOW);
    long started = System.nanoTime();
    for (long row = first; row < first + rows && !Files.exists(stop); row++) {
      long due = started + (long) ((row - first) / perSecond * 1e9);
      while (System.nanoTime() - due < 0) {
        LockSupport.parkNanos(due - System.nanoTime());
      }
      window.acquireUninterruptibly();
      write("S", row, "");
      long sent = row;
      Slice slice = Slice.of(once.shape(), new long[] {row, 0}, new long[] {row + 1, width});
      var _ =
          CompletableFuture.allOf(
                  session.push(once, slice, Operation.ADD, Codec.F32, ones),
                  session.push(sum, Operation.ADD, Codec.F32, ones))
              .whenComplete(
                  (done, failure) -> {
                    if (failure == null) {
                      write("A", sent, "");
                    } else {
                      Throwable cause = failure.getCause() == null ? failure : failure.getCause();
                      write(
                          "F",
                          sent,
                          cause instanceof TensorholdException e ? e.reason() : cause.toString());
                    }
                    window.release();
                  });
    }
    window.acquireUninterruptibly(WINDOW);
  }

  private synchronized void write(String event, long row, String reason) {
    String line = "%s %d %d %s".formatted(event, row, System.currentTimeMillis(), reason).strip();
    ByteBuffer bytes = ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.UTF_8));
    try {
      while (bytes.hasRemaining()) {
        ledger.write(bytes);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
