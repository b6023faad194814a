package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.shard.Flush;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A received copy takes the database's place, wherever a kill cuts in. */
class ShardFilesTest {
  @TempDir private Path folder;
  private final SharedRocks rocks = new SharedRocks(1 << 20);

  @AfterEach
  void close() {
    rocks.close();
  }

  private void database(String name, long index) {
    try (ShardStore store = new ShardStore(folder.resolve(name), folder.resolve("staging"), rocks);
        ShardMachine machine = new ShardMachine(0, store, 1 << 20, Kernels.best())) {
      machine.advance(1, index);
      Flush flush = Objects.requireNonNull(machine.beginFlush());
      flush.run();
      machine.endFlush(flush, true);
    }
  }

  private long adopted() throws IOException {
    ShardFiles files = new ShardFiles(folder);
    files.adoptReceived(rocks);
    assertThat(folder.resolve("db.old")).doesNotExist();
    assertThat(folder.resolve("received")).doesNotExist();
    try (ShardStore store = new ShardStore(files.database(), files.staging(), rocks)) {
      return ShardMachine.flushedIndexOf(store);
    }
  }

  @Test
  void newerCopyTakesThePlaceAndAnOlderOneDoesNot() throws IOException {
    database("db", 5);
    database("received", 9);
    assertThat(adopted()).isEqualTo(9);
    database("received", 7);
    assertThat(adopted()).isEqualTo(9);
  }

  @Test
  void killBetweenTheTwoRenamesIsFinishedByTheNextStart() throws IOException {
    database("db.old", 5);
    database("received", 9);
    assertThat(adopted()).isEqualTo(9);
  }

  @Test
  void killAfterTheSecondRenameLeavesTheCopy() throws IOException {
    database("db.old", 5);
    database("db", 9);
    assertThat(adopted()).isEqualTo(9);
  }

  @Test
  void formerDatabaseComesBackIfTheCopyCantBeOpened() throws IOException {
    database("db.old", 5);
    database("received", 9);
    Files.writeString(folder.resolve("received/CURRENT"), "no manifest");
    assertThat(adopted()).isEqualTo(5);
  }
}
