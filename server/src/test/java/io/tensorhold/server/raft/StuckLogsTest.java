package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;
import org.apache.ratis.util.AwaitToRun;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What Ratis' log does when its cache is evicted just as it is closed, with Ratis' own thread. */
@Timeout(30)
class StuckLogsTest {
  private static final Duration SOON = Duration.ofMillis(20);

  private final ReentrantLock logLock = new ReentrantLock();
  private final AtomicInteger evictions = new AtomicInteger();
  private final AwaitToRun eviction =
      new AwaitToRun(
          "eviction",
          () -> {
            logLock.lock();
            try {
              evictions.incrementAndGet();
            } finally {
              logLock.unlock();
            }
          });

  /** Closes as SegmentedRaftLog does, while the evicting thread wants the lock. */
  private String closeWhileEvicting() {
    logLock.lock();
    try {
      eviction.start();
      while (!logLock.hasQueuedThreads()) {
        eviction.signal();
        Thread.onSpinWait();
      }
      eviction.close();
    } finally {
      logLock.unlock();
    }
    return "closed";
  }

  @Test
  void logThatWaitsForItsOwnEvictionIsClosed() throws IOException {
    assertThat(StuckLogs.freed(this::closeWhileEvicting, SOON)).isEqualTo("closed");
  }

  /** As when a replica's part in Raft ends by itself, and is then waited for. */
  @Test
  void logThatAnotherThreadClosesIsFreedToo() throws IOException {
    CountDownLatch closed = new CountDownLatch(1);
    Thread.ofPlatform()
        .daemon()
        .start(
            () -> {
              closeWhileEvicting();
              closed.countDown();
            });

    StuckLogs.freed(
        () -> {
          try {
            closed.await();
          } catch (InterruptedException e) {
            throw new IOException(e);
          }
          return closed;
        },
        SOON);

    assertThat(closed.getCount()).isZero();
  }

  @Test
  void failureOfAnUnhinderedCloseIsTold() {
    assertThatThrownBy(
            () ->
                StuckLogs.freed(
                    () -> {
                      throw new IOException("disk gone");
                    },
                    SOON))
        .isInstanceOf(IOException.class)
        .hasMessage("disk gone");
  }
}
