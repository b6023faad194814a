package io.tensorhold.server.raft;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.apache.ratis.server.protocol.TermIndex;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Fetches the files of another server's replica.
 *
 * <p>They gather in {@code receiving/SERVER-COPY/} and are one rename away from being whole: {@code
 * received/} exists only if every file in it is complete, checked against its CRC-32C and on disk.
 * A transfer that broke goes on where it stopped, because files never change under their name; if
 * one did, its checksum tells, and it is fetched again.
 *
 * @param shard its number, or {@link ReplicaCopy#CATALOG}
 * @param reusable a folder with files that an earlier copy may have brought
 */
record ReplicaFetch(ReplicaSource source, int shard, Path receiving, Path received, Path reusable) {
  private static final Logger log = LoggerFactory.getLogger(ReplicaFetch.class);

  /**
   * Fetches a whole replica.
   *
   * @param minIndex what it holds of the log at least
   * @return what it holds of the log
   * @throws IOException if the transfer breaks; call again to go on
   */
  TermIndex from(String serverId, String address, long minIndex) throws IOException {
    ReplicaCopy copy = source.open(address, shard, minIndex, begun(serverId));
    log.info(
        "fetching {} at index {} from server {}: {} files, {} bytes",
        shard == ReplicaCopy.CATALOG ? "the catalog" : "shard " + shard,
        copy.index(),
        serverId,
        copy.files().size(),
        copy.files().stream().mapToLong(ReplicaCopy.File::bytes).sum());
    FileTrees.delete(received);
    Path folder = folderFor(serverId, copy);
    for (ReplicaCopy.File file : copy.files()) {
      fetch(address, copy, file, folder.resolve(file.name()));
    }
    FileTrees.force(folder);
    Files.move(folder, received);
    FileTrees.delete(receiving);
    FileTrees.force(received.toAbsolutePath().getParent());
    return TermIndex.valueOf(copy.term(), copy.index());
  }

  /** The id of the copy that was fetched in part from this server, or "". */
  private String begun(String serverId) throws IOException {
    String prefix = serverId + "-";
    return gathered().stream()
        .map(folder -> String.valueOf(folder.getFileName()))
        .filter(name -> name.startsWith(prefix))
        .findFirst()
        .map(name -> name.substring(prefix.length()))
        .orElse("");
  }

  private List<Path> gathered() throws IOException {
    Files.createDirectories(receiving);
    try (Stream<Path> folders = Files.list(receiving)) {
      return folders.toList();
    }
  }

  /**
   * The folder of files from this server, without those that the copy does not have. Another copy
   * of the same replica has most of its files under the same names.
   */
  private Path folderFor(String serverId, ReplicaCopy copy) throws IOException {
    Set<String> names =
        copy.files().stream().map(ReplicaCopy.File::name).collect(Collectors.toSet());
    for (String name : Stream.concat(names.stream(), Stream.of(copy.id())).toList()) {
      if (name.isEmpty() || name.startsWith(".") || name.contains("/") || name.contains("\\")) {
        throw new IOException("server %s names a file \"%s\"".formatted(serverId, name));
      }
    }
    Path folder = receiving.resolve(serverId + "-" + copy.id());
    for (Path other : gathered()) {
      if (Files.notExists(folder)
          && String.valueOf(other.getFileName()).startsWith(serverId + "-")) {
        Files.move(other, folder);
      } else if (!other.equals(folder)) {
        FileTrees.delete(other);
      }
    }
    Files.createDirectories(folder);
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.toList()) {
        if (!names.contains(String.valueOf(file.getFileName()))) {
          FileTrees.delete(file);
        }
      }
    }
    return folder;
  }

  private void fetch(String address, ReplicaCopy copy, ReplicaCopy.File file, Path target)
      throws IOException {
    reuse(file, target);
    for (int attempt : List.of(1, 2)) {
      if (Files.exists(target) && Files.size(target) > file.bytes()) {
        Files.delete(target);
      }
      String fault = append(address, copy, file, target);
      if (fault == null) {
        return;
      }
      Files.delete(target);
      if (attempt == 2) {
        throw new IOException("%s from %s is damaged: %s".formatted(file.name(), address, fault));
      }
    }
  }

  /** A table file that is here already, under its name and with its length, is only checked. */
  private void reuse(ReplicaCopy.File file, Path target) throws IOException {
    Path here = reusable.resolve(file.name());
    if (file.name().endsWith(".sst")
        && !Files.exists(target)
        && Files.exists(here)
        && Files.size(here) == file.bytes()) {
      Files.createLink(target, here);
    }
  }

  /** Fetches what is missing of a file; what is wrong with it then, or null. */
  private @org.jspecify.annotations.Nullable String append(
      String address, ReplicaCopy copy, ReplicaCopy.File file, Path target) throws IOException {
    CRC32C crc = new CRC32C();
    try (FileChannel channel =
        FileChannel.open(
            target, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      long have = channel.size();
      CopyReader.checksum(channel, have, crc);
      int expected =
          source.read(
              address,
              shard,
              copy.id(),
              file.name(),
              have,
              bytes -> {
                crc.update(bytes.duplicate());
                while (bytes.hasRemaining()) {
                  channel.write(bytes);
                }
              });
      channel.force(true);
      if (channel.size() != file.bytes()) {
        return "bytes=%d expected=%d".formatted(channel.size(), file.bytes());
      }
      return (int) crc.getValue() == expected
          ? null
          : "crc32c=%08x expected=%08x".formatted((int) crc.getValue(), expected);
    }
  }
}
