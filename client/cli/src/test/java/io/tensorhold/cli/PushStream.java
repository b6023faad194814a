package io.tensorhold.cli;

import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Operation;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;

/** A stream of pushes of ones: the tensor counts how often each was applied. */
final class PushStream implements AutoCloseable {
  private final Session session;
  private final Parameter counter;
  private final MemorySegment ones;
  private static final int WINDOW = 16;

  private final Semaphore window = new Semaphore(WINDOW);
  final AtomicLong acked = new AtomicLong();
  final AtomicLong sent = new AtomicLong();
  private final Thread thread;
  private volatile boolean stop;

  PushStream(TensorholdClient client, Parameter counter) {
    this.session = client.openSession("crash test");
    this.counter = counter;
    float[] values = new float[(int) counter.elements()];
    Arrays.fill(values, 1);
    this.ones = MemorySegment.ofArray(values);
    this.thread = Thread.ofPlatform().start(this::run);
  }

  private void run() {
    while (!stop) {
      window.acquireUninterruptibly();
      sent.incrementAndGet();
      var _ =
          session
              .push(counter, Operation.ADD, Codec.F32, ones)
              .whenComplete(
                  (done, failure) -> {
                    if (failure == null) {
                      acked.incrementAndGet();
                    }
                    window.release();
                  });
    }
  }

  @Override
  public void close() {
    stop = true;
    try {
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    session.flush();
    window.acquireUninterruptibly(WINDOW); // an acknowledgement is counted after its push is done
    session.close();
  }
}
