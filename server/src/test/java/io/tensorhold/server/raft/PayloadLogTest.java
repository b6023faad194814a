package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.server.raft.PayloadLog.Forcer;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Records are there when a level says so, and only those that the log refers to. */
@Timeout(60)
class PayloadLogTest {
  private static final Duration LONG = Duration.ofHours(1);

  @TempDir private Path folder;
  private final AtomicLong logStart = new AtomicLong();

  private PayloadLog open(Fsync fsync, Duration interval, Forcer forcer) throws IOException {
    return PayloadLog.open(folder, new PayloadLog.Settings(fsync, interval, forcer), logStart::get);
  }

  private PayloadLog open() throws IOException {
    return open(Fsync.NEVER, LONG, Forcer.DISK);
  }

  private static ByteString payload(long seed, int bytes) {
    byte[] payload = new byte[bytes];
    new Random(seed).nextBytes(payload);
    return ByteString.copyFrom(payload);
  }

  private static CompletableFuture<Void> write(
      PayloadLog log, long term, long index, ByteString payload) {
    return log.write(term, index, PayloadReference.to(payload), payload, null);
  }

  private static ByteString read(PayloadLog log, long term, long index, ByteString expected)
      throws IOException {
    return log.read(term, index, PayloadReference.to(expected));
  }

  @Test
  void recordsOfAnySizeAreFoundAgainAfterAStart() throws IOException {
    List<Integer> sizes = List.of(4096, 4032, 4033, 1, 262_144, 262_080, 1_048_583, 7 << 20);
    for (int round = 0; round < 2; round++) {
      try (PayloadLog log = open()) {
        for (int i = 0; i < sizes.size(); i++) {
          write(log, 3, round * 100L + i, payload(i, sizes.get(i))).join();
        }
      }
    }
    try (PayloadLog log = open()) {
      for (int round = 0; round < 2; round++) {
        for (int i = 0; i < sizes.size(); i++) {
          ByteString expected = payload(i, sizes.get(i));
          assertThat(read(log, 3, round * 100L + i, expected)).isEqualTo(expected);
        }
      }
    }
  }

  @Test
  void aWriteEndsOnlyWhenItIsOnDisk() throws Exception {
    CountDownLatch forcing = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    Forcer forcer =
        channel -> {
          forcing.countDown();
          try {
            go.await();
          } catch (InterruptedException e) {
            throw new IOException(e);
          }
          channel.force(false);
        };
    try (PayloadLog log = open(Fsync.ALWAYS, LONG, forcer)) {
      CompletableFuture<Void> written = write(log, 1, 1, payload(1, 5000));
      forcing.await();
      assertThat(written).isNotDone();
      assertThat(read(log, 1, 1, payload(1, 5000))).isEqualTo(payload(1, 5000));
      go.countDown();
      written.join();
    }
  }

  @Test
  void anFsyncThatFailsFailsItsWriteAndAllLaterOnes() throws IOException {
    Forcer broken =
        channel -> {
          throw new IOException("no disk");
        };
    try (PayloadLog log = open(Fsync.ALWAYS, LONG, broken)) {
      for (int i = 0; i < 2; i++) {
        assertThat(write(log, 1, i, payload(1, 5000)))
            .failsWithin(Duration.ofSeconds(30))
            .withThrowableThat()
            .withMessageContaining("no disk");
      }
    }
  }

  @Test
  void anIntervalsFsyncComesWithoutAnotherWrite() throws Exception {
    CountDownLatch forced = new CountDownLatch(1);
    Forcer forcer =
        channel -> {
          channel.force(false);
          forced.countDown();
        };
    try (PayloadLog log = open(Fsync.INTERVAL, Duration.ofMillis(20), forcer)) {
      write(log, 1, 1, payload(1, 5000)).join();
      forced.await();
    }
  }

  @Test
  void withoutAnIntervalsEndThereIsNoFsyncAndUnderNeverThereIsNone() throws IOException {
    for (Fsync fsync : List.of(Fsync.INTERVAL, Fsync.NEVER)) {
      AtomicInteger forces = new AtomicInteger();
      try (PayloadLog log = open(fsync, LONG, channel -> forces.incrementAndGet())) {
        for (int i = 0; i < 20; i++) {
          write(log, 1, i, payload(i, 5000)).join();
        }
        assertThat(forces).hasValue(0);
      }
      assertThat(forces).as("%s, at a stop", fsync).hasValue(fsync == Fsync.INTERVAL ? 1 : 0);
    }
  }

  @Test
  void theLaterOfTwoRecordsOfAnIndexHolds() throws IOException {
    ByteString former = payload(1, 5000);
    ByteString later = payload(2, 6000);
    try (PayloadLog log = open()) {
      write(log, 1, 7, former).join();
      write(log, 1, 8, former).join();
      write(log, 2, 7, later).join();
      assertThat(read(log, 2, 7, later)).isEqualTo(later);
      assertThatThrownBy(() -> read(log, 1, 7, former)).hasMessageContaining("log index 7");
    }
    try (PayloadLog log = open()) {
      assertThat(read(log, 2, 7, later)).isEqualTo(later);
      assertThat(read(log, 1, 8, former)).isEqualTo(former);
    }
  }

  @Test
  void filesBeforeTheLogsStartAreWrittenAgainAndTheirOldRecordsAreNotFound() throws IOException {
    int records = 150;
    ByteString first = payload(0, 1 << 20);
    try (PayloadLog log = open()) {
      for (int i = 0; i < records; i++) {
        logStart.set(Math.max(0, i - 20));
        write(log, 1, i, payload(i, 1 << 20)).join();
      }
    }
    assertThat(files("payload-") + files("spare-"))
        .as("of 5 segments that were begun")
        .isLessThan(5)
        .isGreaterThan(1);
    try (PayloadLog log = open()) {
      ByteString last = payload(records - 1, 1 << 20);
      assertThat(read(log, 1, records - 1, last)).isEqualTo(last);
      assertThatThrownBy(() -> read(log, 1, 0, first)).hasMessageContaining("log index 0");
      write(log, 1, records, first).join();
    }
    try (PayloadLog log = open()) {
      assertThat(read(log, 1, records, first)).isEqualTo(first);
    }
  }

  private long files(String prefix) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.filter(f -> String.valueOf(f.getFileName()).startsWith(prefix)).count();
    }
  }

  @Test
  void aTornLastRecordIsNotFoundAndNothingIsWrittenBehindIt() throws IOException {
    ByteString whole = payload(1, 5000);
    try (PayloadLog log = open()) {
      write(log, 1, 1, whole).join();
      write(log, 1, 2, whole).join();
    }
    try (FileChannel channel =
        FileChannel.open(folder.resolve("payload-%016x".formatted(1)), StandardOpenOption.WRITE)) {
      channel.truncate(8192 + 3000);
    }
    try (PayloadLog log = open()) {
      assertThatThrownBy(() -> read(log, 1, 2, whole)).hasMessageContaining("byte 8192");
      write(log, 2, 2, whole).join();
      assertThat(read(log, 2, 2, whole)).isEqualTo(whole);
    }
    try (PayloadLog log = open()) {
      assertThat(read(log, 1, 1, whole)).isEqualTo(whole);
      assertThat(read(log, 2, 2, whole)).isEqualTo(whole);
    }
  }

  @Test
  void aFlippedBitIsNamed() throws IOException {
    ByteString payload = payload(1, 5000);
    try (PayloadLog log = open()) {
      write(log, 1, 1, payload).join();
      write(log, 1, 2, payload).join();
      flip(folder.resolve("payload-%016x".formatted(1)), 8192 + 100);
      assertThatThrownBy(() -> read(log, 1, 2, payload))
          .hasMessageContaining("byte 8192 of")
          .hasMessageContaining("payload-0000000000000001")
          .hasMessageContaining("log index 2");
      assertThat(read(log, 1, 1, payload)).isEqualTo(payload);
    }
  }

  static void flip(Path file, long at) throws IOException {
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      ByteBuffer one = ByteBuffer.allocate(1);
      channel.read(one, at);
      one.put(0, (byte) (one.get(0) ^ 4));
      channel.write(one.rewind(), at);
    }
  }

  @Test
  void aClosedLogRefusesWritesAndHasWrittenWhatWasQueued() throws IOException {
    ByteString payload = payload(1, 1 << 20);
    List<CompletableFuture<Void>> writes = new ArrayList<>();
    PayloadLog log = open();
    for (int i = 0; i < 10; i++) {
      writes.add(write(log, 1, i, payload));
    }
    log.close();
    assertThat(writes).allMatch(CompletableFuture::isDone);
    assertThat(write(log, 1, 10, payload)).isCompletedExceptionally();
    try (PayloadLog again = open()) {
      assertThat(read(again, 1, 9, payload)).isEqualTo(payload);
    }
  }
}
