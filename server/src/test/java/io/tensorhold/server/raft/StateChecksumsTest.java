package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.shard.Flush;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.Queue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A replica's checksums at chosen indices, and what a leader makes of them. */
class StateChecksumsTest {
  @TempDir private Path folder;
  private final SharedRocks rocks = new SharedRocks(1 << 20);
  private final Queue<Runnable> background = new ArrayDeque<>();
  private final StateChecksums checksums = new StateChecksums(0, background::add);
  private ShardStore store;
  private ShardMachine machine;

  @BeforeEach
  void open() {
    store = new ShardStore(folder.resolve("db"), folder.resolve("staging"), rocks);
    machine = new ShardMachine(0, store, 1 << 20, Kernels.best());
  }

  @AfterEach
  void close() {
    machine.close();
    store.close();
    rocks.close();
  }

  private void flushAt(long index) {
    machine.advance(1, index);
    Flush flush = Objects.requireNonNull(machine.beginFlush());
    flush.run();
    machine.endFlush(flush, true);
  }

  private void runAll() {
    while (!background.isEmpty()) {
      background.remove().run();
    }
  }

  @Test
  void checksumIsThatOfTheIndexThoughFlushesGoOn() {
    flushAt(5);
    long then = machine.checksum();
    checksums.begin(5, store.scan());
    flushAt(9);
    assertThat(checksums.at(5)).isEmpty();
    runAll();
    assertThat(checksums.at(5)).hasValue(then);
    assertThat(machine.checksum()).isNotEqualTo(then);
  }

  @Test
  void lastTwoAreKeptAndOneWalkIsMadeAtATime() {
    for (long index : new long[] {5, 6, 7}) {
      flushAt(index);
      checksums.begin(index, store.scan());
      checksums.begin(index + 100, store.scan());
      runAll();
    }
    assertThat(checksums.at(5)).isEmpty();
    assertThat(checksums.at(6)).isPresent();
    assertThat(checksums.at(7)).isPresent();
    assertThat(checksums.at(107)).isEmpty();
  }

  @Test
  void databaseThatIsClosedMeanwhileEndsTheWalk() {
    flushAt(5);
    checksums.begin(5, store.scan());
    machine.close();
    store.close();
    runAll();
    assertThat(checksums.at(5)).isEmpty();
    open();
  }

  @Test
  void majorityIsOfAllMembersNotOfThoseThatAnswered() {
    assertThat(ReplicaComparison.majority(Map.of("a", 1L, "b", 1L, "c", 2L), 3))
        .isEqualTo(OptionalLong.of(1));
    assertThat(ReplicaComparison.majority(Map.of("a", 1L, "b", 2L, "c", 3L), 3)).isEmpty();
    assertThat(ReplicaComparison.majority(Map.of("a", 1L), 3)).isEmpty();
    assertThat(ReplicaComparison.majority(Map.of("a", 1L), 1)).hasValue(1);
  }
}
