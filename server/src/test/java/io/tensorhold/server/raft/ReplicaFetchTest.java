package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.proto.v1.OpenSessionRequest;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.Random;
import org.apache.ratis.server.protocol.TermIndex;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A replica fetched from another one's copies; only the network between them is cut short. */
class ReplicaFetchTest {
  private static final int BYTES = 5 << 20;

  @TempDir private Path folder;

  /** What the replica that is copied holds of the log; it grows while copies are made. */
  private long applied = 100;

  /** The copies of a replica in this process, over a line that breaks after so many bytes. */
  private static final class Line implements ReplicaSource {
    private final ReplicaCopies copies;
    private final List<Long> offsets = new ArrayList<>();
    private long breaksAfter = Long.MAX_VALUE;

    Line(ReplicaCopies copies) {
      this.copies = copies;
    }

    @Override
    public @Nullable String addressOf(String serverId) {
      return serverId;
    }

    @Override
    public ReplicaCopy open(String address, int shard, long minIndex, String begun)
        throws IOException {
      return copies.open(minIndex, begun);
    }

    @Override
    public OptionalLong compare(String address, int shard, long index, OptionalLong agreed) {
      throw new UnsupportedOperationException();
    }

    @Override
    public int read(String address, int shard, String copy, String file, long offset, Sink sink)
        throws IOException {
      offsets.add(offset);
      try (CopyReader reader = copies.read(copy, file, offset)) {
        for (ByteBuffer next = reader.next(); next != null; next = reader.next()) {
          breaksAfter -= next.remaining();
          if (breaksAfter < 0) {
            throw new IOException("the line broke");
          }
          sink.write(next);
        }
        return reader.crc();
      }
    }
  }

  private Line line(byte[] content) {
    return new Line(
        new ReplicaCopies(
            folder.resolve("transfer"),
            target -> {
              Files.createDirectories(target);
              Files.write(target.resolve("000001.sst"), content);
              return TermIndex.valueOf(3, applied++);
            },
            System::nanoTime));
  }

  private ReplicaFetch fetch(Line line) {
    return new ReplicaFetch(
        line, 0, folder.resolve("receiving"), folder.resolve("received"), folder.resolve("db"));
  }

  private static byte[] random(int bytes) {
    byte[] content = new byte[bytes];
    new Random(1).nextBytes(content);
    return content;
  }

  @Test
  void brokenTransferGoesOnInTheMiddleOfTheFile() throws IOException {
    byte[] content = random(BYTES);
    Line line = line(content);
    line.breaksAfter = 2 << 20;
    assertThatThrownBy(() -> fetch(line).from("s1", "s1", 90)).hasMessage("the line broke");
    assertThat(folder.resolve("received")).doesNotExist();
    line.breaksAfter = Long.MAX_VALUE;
    assertThat(fetch(line).from("s1", "s1", 90)).isEqualTo(TermIndex.valueOf(3, 100));
    assertThat(line.offsets).containsExactly(0L, 2L << 20);
    assertThat(folder.resolve("received/000001.sst")).hasBinaryContent(content);
    assertThat(folder.resolve("receiving")).doesNotExist();
  }

  @Test
  void whoBeginsIsGivenTheReplicaAsItIsNow() throws IOException {
    Line line = line(random(100));
    assertThat(fetch(line).from("s1", "s1", 90).getIndex()).isEqualTo(100);
    assertThat(fetch(line).from("s1", "s1", 90).getIndex()).isEqualTo(101);
    assertThat(fetch(line).from("s1", "s1", 90).getIndex()).isEqualTo(101);
    assertThatThrownBy(() -> fetch(line).from("s1", "s1", 102)).hasMessageContaining("limit=2");
  }

  @Test
  void partialFileThatWasChangedIsFetchedAgain() throws IOException {
    byte[] content = random(BYTES);
    Line line = line(content);
    line.breaksAfter = 2 << 20;
    assertThatThrownBy(() -> fetch(line).from("s1", "s1", 90)).hasMessage("the line broke");
    line.breaksAfter = Long.MAX_VALUE;
    Path partial = folder.resolve("receiving/s1-at-100/000001.sst");
    byte[] changed = Files.readAllBytes(partial);
    changed[1000] ^= 1;
    Files.write(partial, changed);
    fetch(line).from("s1", "s1", 90);
    assertThat(line.offsets).containsExactly(0L, 2L << 20, 0L);
    assertThat(folder.resolve("received/000001.sst")).hasBinaryContent(content);
  }

  @Test
  void catalogThatTheLogCantBringUpToDateIsFetched() throws Exception {
    CatalogState here = new CatalogState();
    CatalogCommand open =
        CatalogCommand.newBuilder().setOpenSession(OpenSessionRequest.getDefaultInstance()).build();
    for (int index = 0; index < 300; index++) {
      here.apply(2, index, open);
    }
    ReplicaFetches none = new ReplicaFetches(new Line(copiesOfNothing()), id -> id);
    CatalogStateMachine leader =
        new CatalogStateMachine(folder.resolve("leader"), here, none, () -> {}, () -> {});
    CatalogState behind = new CatalogState();
    try (ReplicaFetches fetches = new ReplicaFetches(new Line(leader.copies()), id -> id)) {
      Path directory = Files.createDirectories(folder.resolve("follower"));
      CatalogStateMachine follower =
          new CatalogStateMachine(directory, behind, fetches, () -> {}, () -> {});
      TermIndex got = fetches.fetch(follower.target(), "leader", 250);
      assertThat(got).isEqualTo(TermIndex.valueOf(2, 299));
      assertThat(behind.hasSession(1)).isFalse();
      follower.reinitialize();
      assertThat(behind.snapshot()).isEqualTo(here.snapshot());
      assertThat(follower.getLastAppliedTermIndex()).isEqualTo(got);
      assertThat(directory.resolve("received")).doesNotExist();
    }
    none.close();
  }

  private ReplicaCopies copiesOfNothing() {
    return new ReplicaCopies(
        folder.resolve("nothing"), target -> TermIndex.valueOf(0, -1), System::nanoTime);
  }
}
