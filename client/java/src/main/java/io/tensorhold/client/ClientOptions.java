package io.tensorhold.client;

import io.tensorhold.wire.TlsFiles;
import java.time.Duration;
import java.util.List;

/**
 * How a client behaves.
 *
 * @param servers host:port of any servers of the cluster; the others are found through them
 * @param deadline of one operation, all retries included
 * @param maxInFlightBytes of pushes that are not acknowledged yet, for each session; past it, a
 *     push waits
 * @param tls whom the client trusts and what it shows
 */
public record ClientOptions(
    List<String> servers, Duration deadline, int maxInFlightBytes, TlsFiles tls) {
  /** Thirty seconds, 64 MiB, TLS as the environment says; see {@link TlsFiles#of}. */
  public ClientOptions(List<String> servers) {
    this(servers, Duration.ofSeconds(30), 64 << 20, TlsFiles.of(System.getenv()));
  }

  /** Checks the values. */
  public ClientOptions {
    servers = List.copyOf(servers);
    if (servers.isEmpty()) {
      throw new IllegalArgumentException("servers: at least one host:port");
    }
    if (deadline.isNegative() || deadline.isZero()) {
      throw new IllegalArgumentException("deadline: value=%s allowed=above 0".formatted(deadline));
    }
    if (maxInFlightBytes < 1 << 20) {
      throw new IllegalArgumentException(
          "maxInFlightBytes: value=%d allowed=at least 1 MiB".formatted(maxInFlightBytes));
    }
  }

  /** The same with another deadline. */
  public ClientOptions withDeadline(Duration other) {
    return new ClientOptions(servers, other, maxInFlightBytes, tls);
  }

  /** The same with another bound of unacknowledged bytes. */
  public ClientOptions withMaxInFlightBytes(int other) {
    return new ClientOptions(servers, deadline, other, tls);
  }

  /** The same with other TLS files; {@link TlsFiles#NONE}: without TLS. */
  public ClientOptions withTls(TlsFiles other) {
    return new ClientOptions(servers, deadline, maxInFlightBytes, other);
  }
}
