package io.tensorhold.server.rpc;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The Unix domain socket of a server, {@code api.sock} in its data directory: who may enter that
 * directory may use it.
 */
public final class LocalSocket {
  private static final Logger log = LoggerFactory.getLogger(LocalSocket.class);
  private static final String NAME = "api.sock";

  /** The kernel's limit, with the zero at the end. */
  private static final int PATH_BYTES = 107;

  private LocalSocket() {}

  /** Where it lies; null: the path would be longer than a socket's may be. */
  public static @Nullable Path in(Path dataDirectory) {
    Path path = dataDirectory.toAbsolutePath().resolve(NAME);
    int bytes = path.toString().getBytes(StandardCharsets.UTF_8).length;
    if (bytes > PATH_BYTES) {
      log.info(
          "no Unix domain socket: the path {} has {} bytes, allowed are {}",
          path,
          bytes,
          PATH_BYTES);
      return null;
    }
    return path;
  }

  /** Takes away what a server left that was killed; the data directory is ours alone. */
  static void clear(Path socket) throws IOException {
    Files.deleteIfExists(socket);
  }

  /** Lets every user of this host connect whom the data directory lets in. */
  static void open(Path socket) throws IOException {
    Files.setPosixFilePermissions(socket, PosixFilePermissions.fromString("rw-rw-rw-"));
  }
}
