package io.tensorhold.server.raft;

import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.ratis.util.AwaitToRun;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Gets logs closed that wait for ever.
 *
 * <p>Ratis 3.3.0 closes a log with the log's write lock held, and waits there for the thread that
 * evicts its cache, which may be waiting for that lock. The wait ends by an interrupt. It comes
 * late enough for the writer of the log to be idle: what Ratis does next may not wait for it.
 */
final class StuckLogs {
  private static final Logger log = LoggerFactory.getLogger(StuckLogs.class);
  private static final Duration PATIENCE = Duration.ofSeconds(5);

  /** What closes logs. */
  interface Closing<T> {
    /** Closes them; may take for ever. */
    T run() throws IOException;
  }

  private StuckLogs() {}

  /** Runs what closes logs, or waits for one that is being closed, and frees those that hang. */
  static <T> T freed(Closing<T> closing) throws IOException {
    return freed(closing, PATIENCE);
  }

  static <T> T freed(Closing<T> closing, Duration patience) throws IOException {
    FutureTask<T> task = new FutureTask<>(closing::run);
    Thread.ofPlatform().name("close-log").daemon().start(task);
    while (true) {
      try {
        return task.get(patience.toMillis(), TimeUnit.MILLISECONDS);
      } catch (TimeoutException stuck) {
        interruptClosers();
      } catch (ExecutionException e) {
        throw e.getCause() instanceof IOException failure
            ? failure
            : new IOException(e.getCause().getMessage(), e.getCause());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException("interrupted while a log was being closed", e);
      }
    }
  }

  private static void interruptClosers() {
    for (Map.Entry<Thread, StackTraceElement[]> thread : Thread.getAllStackTraces().entrySet()) {
      for (StackTraceElement frame : thread.getValue()) {
        if (frame.getClassName().equals(AwaitToRun.class.getName())
            && frame.getMethodName().equals("close")) {
          log.warn("{} waits for a thread that waits for it: freed", thread.getKey().getName());
          thread.getKey().interrupt();
        }
      }
    }
  }
}
