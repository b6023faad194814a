package io.tensorhold.server.raft;

import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import io.tensorhold.server.store.StoreException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The files of one shard in a data directory; every name is made here.
 *
 * <pre>
 * db/          the database
 * db.old/      the former database, while another one takes its place
 * staging/     flushes that are not ingested yet
 * transfer/    at-INDEX/: copies of the database that other servers fetch
 * receiving/   SERVER/: a copy that arrives from there
 * received/    a copy that is whole, and waits to take the database's place
 * </pre>
 */
final class ShardFiles {
  private static final Logger log = LoggerFactory.getLogger(ShardFiles.class);

  private final Path directory;

  ShardFiles(Path directory) {
    this.directory = directory;
  }

  Path database() {
    return directory.resolve("db");
  }

  Path staging() {
    return directory.resolve("staging");
  }

  Path transfer() {
    return directory.resolve("transfer");
  }

  Path receiving() {
    return directory.resolve("receiving");
  }

  Path received() {
    return directory.resolve("received");
  }

  private Path former() {
    return directory.resolve("db.old");
  }

  /**
   * Puts a received copy in the place of the database, if it is newer, and finishes what an earlier
   * process was killed at: whichever rename was its last, one of the two is whole and is taken.
   */
  void adoptReceived(SharedRocks rocks) throws IOException {
    Files.createDirectories(directory);
    if (Files.exists(former())) {
      if (Files.exists(database())) {
        FileTrees.delete(former());
      } else {
        Files.move(former(), database());
      }
    }
    if (!Files.exists(received())) {
      return;
    }
    long there;
    try {
      there = indexOf(received(), rocks);
    } catch (StoreException e) {
      log.error("the received copy {} can't be opened; it is fetched again", received(), e);
      FileTrees.delete(received());
      return;
    }
    if (there > here(rocks)) {
      if (Files.exists(database())) {
        Files.move(database(), former());
      }
      Files.move(received(), database());
      FileTrees.force(directory);
      FileTrees.delete(former());
    } else {
      FileTrees.delete(received());
    }
  }

  /** Removes a damaged database, for which a received copy is there. */
  void discardDatabase() throws IOException {
    if (!Files.exists(received())) {
      throw new IOException("no copy has been received to " + received());
    }
    FileTrees.delete(database());
  }

  private long here(SharedRocks rocks) {
    try {
      return indexOf(database(), rocks);
    } catch (StoreException e) {
      log.error("the database {} can't be opened; the received copy takes its place", directory, e);
      return -1;
    }
  }

  /** Index that a database holds; −1 without one. */
  private long indexOf(Path database, SharedRocks rocks) {
    if (!Files.exists(database.resolve("CURRENT"))) {
      return -1;
    }
    try (ShardStore store = new ShardStore(database, staging(), rocks)) {
      return ShardMachine.flushedIndexOf(store);
    }
  }
}
