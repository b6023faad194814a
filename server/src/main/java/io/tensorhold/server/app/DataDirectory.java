package io.tensorhold.server.app;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Properties;
import java.util.UUID;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The one place a server writes to. One process holds it at a time.
 *
 * <pre>
 * LOCK         held while a server runs
 * IDENTITY     format, server id, cluster id, shard count, whether it is to found the cluster, and has
 * catalog/ shards/ raft/   see ClusterNode
 * tmp/         native libraries; emptied at each start
 * </pre>
 */
final class DataDirectory implements AutoCloseable {
  private static final int FORMAT = 1;

  private final Path path;
  private final FileChannel lockFile;
  private final FileLock lock;

  /**
   * Who the server is, as long as its logs are there.
   *
   * @param founder it is the one that founds the cluster
   * @param founded it has: without its logs it must not do so again
   */
  record Identity(
      String serverId, String clusterId, int shardCount, boolean founder, boolean founded) {
    Identity asFounded() {
      return new Identity(serverId, clusterId, shardCount, founder, true);
    }
  }

  private DataDirectory(Path path, FileChannel lockFile, FileLock lock) {
    this.path = path;
    this.lockFile = lockFile;
    this.lock = lock;
  }

  /**
   * Takes a directory, which is created if it does not exist.
   *
   * @throws StartFailure if another process holds it, or it can't be written to
   */
  static DataDirectory open(Path path) {
    try {
      Files.createDirectories(path);
      FileChannel file =
          FileChannel.open(
              path.resolve("LOCK"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      FileLock lock;
      try {
        lock = file.tryLock();
      } catch (OverlappingFileLockException e) {
        lock = null;
      }
      if (lock == null) {
        file.close();
        throw new StartFailure(
            "the data directory %s is held by another process: stop it, or choose another --data-dir"
                .formatted(path));
      }
      return new DataDirectory(path, file, lock);
    } catch (IOException e) {
      throw new StartFailure(
          "the data directory %s can't be written to: %s".formatted(path, e.getMessage()));
    }
  }

  /** The folder for temporary files of a data directory, empty. */
  static Path temporary(String dataDirectory) {
    Path folder = Path.of(dataDirectory).toAbsolutePath().resolve("tmp");
    try {
      Files.createDirectories(folder);
      try (Stream<Path> leftovers = Files.list(folder)) {
        for (Path leftover : leftovers.toList()) {
          Files.deleteIfExists(leftover);
        }
      }
      return folder;
    } catch (IOException e) {
      throw new StartFailure(
          "the data directory %s can't be written to: %s".formatted(dataDirectory, e.getMessage()));
    }
  }

  Path path() {
    return path;
  }

  /** The identity; null if no server has run here. */
  @Nullable Identity identity() {
    Path file = path.resolve("IDENTITY");
    if (!Files.exists(file)) {
      return null;
    }
    Properties properties = new Properties();
    try (var in = Files.newBufferedReader(file)) {
      properties.load(in);
      int format = Integer.parseInt(properties.getProperty("format", "0"));
      if (format != FORMAT) {
        throw new StartFailure(
            "the data directory %s has format %d; this server knows %d: run the version that wrote it, or a newer one"
                .formatted(path, format, FORMAT));
      }
      return new Identity(
          properties.getProperty("server-id", ""),
          properties.getProperty("cluster-id", ""),
          Integer.parseInt(properties.getProperty("shards", "0")),
          Boolean.parseBoolean(properties.getProperty("founder")),
          Boolean.parseBoolean(properties.getProperty("founded")));
    } catch (IOException | NumberFormatException e) {
      throw new StartFailure("%s can't be read: %s".formatted(file, e.getMessage()));
    }
  }

  /** Whether the log of any group is here. */
  boolean hasLogs() {
    Path logs = path.resolve("raft");
    if (!Files.isDirectory(logs)) {
      return false;
    }
    try (Stream<Path> folders = Files.list(logs)) {
      return folders.map(Path::getFileName).map(String::valueOf).anyMatch(DataDirectory::isGroup);
    } catch (IOException e) {
      throw new StartFailure("%s can't be read: %s".formatted(logs, e.getMessage()));
    }
  }

  private static boolean isGroup(String name) {
    return name.matches("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\\.damaged)?");
  }

  /** Writes the identity, durably. */
  void identify(Identity identity) {
    Path fresh = path.resolve("IDENTITY.new");
    String text =
        "format=%d%nserver-id=%s%ncluster-id=%s%nshards=%d%nfounder=%s%nfounded=%s%n"
            .formatted(
                FORMAT,
                identity.serverId(),
                identity.clusterId(),
                identity.shardCount(),
                identity.founder(),
                identity.founded());
    try {
      Files.writeString(fresh, text);
      try (FileChannel channel = FileChannel.open(fresh, StandardOpenOption.WRITE)) {
        channel.force(true);
      }
      Files.move(fresh, path.resolve("IDENTITY"), StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static String newId() {
    return UUID.randomUUID().toString().substring(0, 8);
  }

  @Override
  public void close() {
    try {
      lock.release();
      lockFile.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
