package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.UUID;
import java.util.zip.CRC32C;
import org.apache.ratis.protocol.RaftGroupId;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Logs that end before the database does, as a repair from a peer leaves them. */
class LogFoldersTest {
  private static final int ZEROS = 100;

  @TempDir private Path directory;
  private final RaftGroupId group = RaftGroupId.valueOf(new UUID(1, 2));
  private LogFolders folders = new LogFolders(Path.of(""));
  private Path current = Path.of("");

  /** Segments with the entries 5 to 9, and 10 to 12 of which 12 is torn. */
  @BeforeEach
  void segments() throws IOException {
    folders = new LogFolders(directory);
    current =
        Files.createDirectories(directory.resolve(group.getUuid().toString()).resolve("current"));
    Files.write(current.resolve("log_5-9"), segment(5));
    byte[] open = segment(3);
    open[open.length - ZEROS - 1] ^= 1;
    Files.write(current.resolve("log_inprogress_10"), open);
    Files.writeString(current.resolve("raft-meta"), "votes");
  }

  private static byte[] segment(int records) {
    ByteBuffer bytes = ByteBuffer.allocate(8 + records * 25 + ZEROS);
    bytes.put("RaftLog1".getBytes(StandardCharsets.US_ASCII));
    for (int i = 0; i < records; i++) {
      int from = bytes.position();
      bytes.put((byte) 20).put(new byte[20]);
      CRC32C crc = new CRC32C();
      crc.update(bytes.slice(from, 21));
      bytes.putInt((int) crc.getValue());
    }
    byte[] all = new byte[bytes.capacity()];
    bytes.get(0, all);
    return all;
  }

  @Test
  void aLogThatTheDatabaseCoversGoesAndItsVotesStay() throws IOException {
    folders.dropCovered(group, 12);
    assertThat(current.resolve("log_5-9")).doesNotExist();
    assertThat(current.resolve("log_inprogress_10")).doesNotExist();
    assertThat(current.resolve("raft-meta")).exists();
  }

  @ParameterizedTest
  @ValueSource(strings = {"cccaeb79", "ccdaebf90f", "ccdaebf990d1"})
  void aRecordOfAnImpossibleLengthIsNamedAsDamage(String length) throws IOException {
    Path open = current.resolve("log_inprogress_10");
    byte[] bytes = segment(3);
    byte[] prefix = HexFormat.of().parseHex(length);
    System.arraycopy(prefix, 0, bytes, 8 + 25, prefix.length);
    Files.write(open, bytes);
    assertThatThrownBy(folders::cutTornTails)
        .hasMessageContaining(open + " is damaged at byte 33")
        .hasMessageContaining("let it join again");
    assertThat(Files.readAllBytes(open)).isEqualTo(bytes);
  }

  @Test
  void aLogThatReachesTheDatabaseStays() throws IOException {
    folders.dropCovered(group, 11);
    assertThat(current.resolve("log_5-9")).exists();
    assertThat(current.resolve("log_inprogress_10")).exists();
  }
}
