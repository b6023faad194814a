package io.tensorhold.server.raft;

import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.apache.ratis.io.MD5Hash;
import org.apache.ratis.server.storage.FileInfo;
import org.apache.ratis.util.MD5FileUtil;

/**
 * The files of one shard in a data directory; every name is made here.
 *
 * <pre>
 * db/          the database
 * db.old/      the former database, while another one takes its place
 * staging/     flushes that are not ingested yet
 * transfer/    at-INDEX/: a copy of the database that is being sent to a replica, or was received
 *              from a leader
 * receiving/   a copy that is arriving
 * </pre>
 */
final class ShardFiles {
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

  private Path former() {
    return directory.resolve("db.old");
  }

  /**
   * Puts a received copy in the place of the database, if it is newer, and tidies up after an
   * earlier process that was killed while it did so.
   */
  void adoptReceived(SharedRocks rocks) throws IOException {
    if (Files.exists(former())) {
      if (Files.exists(database())) {
        delete(former());
      } else {
        Files.move(former(), database());
      }
    }
    if (Files.isDirectory(transfer())) {
      long here = indexOf(database(), rocks);
      try (Stream<Path> copies = Files.list(transfer())) {
        for (Path copy : copies.filter(Files::isDirectory).toList()) {
          removeDigests(copy);
          if (indexOf(copy, rocks) > here) {
            if (Files.exists(database())) {
              Files.move(database(), former());
            }
            Files.move(copy, database());
            delete(former());
          }
        }
      }
      delete(transfer());
    }
    delete(receiving());
    Files.createDirectories(directory);
  }

  private long indexOf(Path database, SharedRocks rocks) {
    if (!Files.exists(database.resolve("CURRENT"))) {
      return -1;
    }
    try (ShardStore store = new ShardStore(database, staging(), rocks)) {
      return ShardMachine.flushedIndexOf(store);
    }
  }

  private static void removeDigests(Path copy) throws IOException {
    try (Stream<Path> files = Files.list(copy)) {
      for (Path file : files.toList()) {
        if (file.toString().endsWith(MD5FileUtil.MD5_SUFFIX)) {
          Files.delete(file);
        }
      }
    }
  }

  /** Copies the database, by hard links, for a replica to fetch; older copies go. */
  List<FileInfo> export(long index, ShardStore store) {
    Path copy = transfer().resolve("at-" + index);
    try {
      if (!Files.exists(copy)) {
        delete(transfer());
        Files.createDirectories(transfer());
        store.checkpoint(copy);
      }
      List<FileInfo> files = new ArrayList<>();
      try (Stream<Path> listed = Files.list(copy)) {
        for (Path file : listed.sorted().toList()) {
          MD5Hash digest = MD5FileUtil.computeMd5ForFile(file.toFile());
          files.add(new FileInfo(file.toAbsolutePath(), digest));
        }
      }
      return files;
    } catch (IOException e) {
      throw new UncheckedIOException("can't copy the database to " + copy, e);
    }
  }

  private static void delete(Path tree) throws IOException {
    if (Files.exists(tree)) {
      try (Stream<Path> all = Files.walk(tree)) {
        for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(path);
        }
      }
    }
  }
}
