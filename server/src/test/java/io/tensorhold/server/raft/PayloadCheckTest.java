package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.zip.CRC32C;
import org.apache.ratis.proto.RaftProtos.LogEntryProto;
import org.apache.ratis.proto.RaftProtos.StateMachineLogEntryProto;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.CodedOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A log with the indices 5 to 9, whose payloads were written under a level and then damaged. */
class PayloadCheckTest {
  private static final int FIRST = 5;
  private static final int LAST = 9;
  private static final ByteString PAYLOAD = ByteString.copyFrom(new byte[5000]);
  private static final int RECORD = 8192;

  @TempDir private Path group;

  /** Writes indices 5 to 7 to a closed segment of Ratis, 8 and 9 to an open one. */
  private void log(Fsync fsync) throws IOException {
    PayloadLog.Settings settings =
        new PayloadLog.Settings(fsync, Duration.ofHours(1), PayloadLog.Forcer.DISK);
    try (PayloadLog payloads = PayloadLog.open(group.resolve("payloads"), settings, () -> 0)) {
      for (int i = FIRST; i <= LAST; i++) {
        payloads.write(2, i, PayloadReference.to(PAYLOAD), PAYLOAD, null).join();
      }
    }
    Path current = Files.createDirectories(group.resolve("current"));
    Files.write(current.resolve("log_5-7"), segment(5, 7));
    Files.write(current.resolve("log_inprogress_8"), segment(8, 9));
  }

  private static byte[] segment(int first, int last) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    bytes.write("RaftLog1".getBytes(StandardCharsets.US_ASCII));
    for (int i = first; i <= last; i++) {
      LogEntryProto entry =
          LogEntryProto.newBuilder()
              .setTerm(2)
              .setIndex(i)
              .setStateMachineLogEntry(
                  StateMachineLogEntryProto.newBuilder()
                      .setLogData(PayloadReference.to(PAYLOAD).toByteString()))
              .build();
      ByteArrayOutputStream record = new ByteArrayOutputStream();
      CodedOutputStream out = CodedOutputStream.newInstance(record);
      out.writeUInt32NoTag(entry.getSerializedSize());
      entry.writeTo(out);
      out.flush();
      CRC32C crc = new CRC32C();
      crc.update(record.toByteArray());
      bytes.write(record.toByteArray());
      bytes.write(ByteBuffer.allocate(4).putInt((int) crc.getValue()).array());
    }
    bytes.write(new byte[500]);
    return bytes.toByteArray();
  }

  private Path segment() {
    return group.resolve("payloads").resolve("payload-%016x".formatted(1));
  }

  private void damage(int index, int at) throws IOException {
    PayloadLogTest.flip(segment(), (long) (index - FIRST) * RECORD + at);
  }

  private void check(long databaseIndex) throws IOException {
    new PayloadCheck(group, Fsync.ALWAYS).run(databaseIndex);
  }

  private List<Long> left() throws IOException {
    return LogEntries.read(group.resolve("current")).stream().map(LogEntries.Entry::index).toList();
  }

  @Test
  void aWholeLogStaysAsItIs() throws IOException {
    log(Fsync.NEVER);
    check(-1);
    assertThat(left()).containsExactly(5L, 6L, 7L, 8L, 9L);
  }

  @Test
  void damageInTheMiddleIsNamedUnderEveryLevel() throws IOException {
    for (Fsync fsync : Fsync.values()) {
      for (int at : List.of(20, 2000)) {
        log(fsync);
        damage(7, at);
        assertThatThrownBy(() -> check(-1))
            .as("%s, byte %d", fsync, at)
            .hasMessageContaining("byte 16384 of " + segment())
            .hasMessageContaining("restore the data directory");
        FileTrees.delete(group.resolve("payloads"));
      }
    }
  }

  @Test
  void whatTheDatabaseHoldsNeedsNoPayload() throws IOException {
    log(Fsync.ALWAYS);
    damage(7, 2000);
    check(7);
    assertThat(left()).hasSize(5);
  }

  @Test
  void damageOfTheLastThatWasPromisedIsRefused() throws IOException {
    log(Fsync.ALWAYS);
    damage(9, 2000);
    assertThatThrownBy(() -> check(-1)).hasMessageContaining("byte 32768 of " + segment());
    damage(9, 2000);
    damage(9, 20);
    assertThatThrownBy(() -> check(-1)).hasMessageContaining("byte 32768 of " + segment());
    assertThat(left()).hasSize(5);
  }

  @Test
  void theLogEndsBeforeTheFirstThatALossOfPowerTook() throws IOException {
    for (int lost : List.of(9, 8, 7, 5)) {
      FileTrees.delete(group.resolve("payloads"));
      FileTrees.delete(group.resolve("current"));
      log(Fsync.INTERVAL);
      for (int i = lost; i <= LAST; i++) {
        damage(i, i == lost ? 20 : 2000);
      }
      new PayloadCheck(group, Fsync.INTERVAL).run(-1);
      assertThat(left()).hasSize(lost - FIRST);
    }
  }
}
