package io.tensorhold.server.app;

import io.tensorhold.server.base.Limits;
import java.util.List;

/**
 * What an operator decides, with the defaults of {@link #DEFAULTS}. Each key can stand in the YAML
 * file, in the environment ({@code memory.budget}: {@code TENSORHOLD_MEMORY_BUDGET}) and on the
 * command line ({@code --memory.budget 2GiB}); the later wins.
 *
 * @param dataDir the one directory the server writes to
 * @param listen host:port of the public API; 0.0.0.0 listens on every interface
 * @param advertise host:port under which clients and other servers reach {@code listen}; empty: the
 *     same, which must then not be 0.0.0.0
 * @param localSocket whether clients on the same host may come through a Unix domain socket in the
 *     data directory; never where they have to show certificates
 * @param join servers of a cluster to join, host:port with commas between; empty: found a cluster
 * @param shards partitions of a new cluster, 1 to 256; fixed for its life. About twice the cores of
 *     all servers, at most 16 for each server
 * @param replication replicas of each shard once there are servers enough: 1, 3 or 5
 */
public record ServerConfig(
    String dataDir,
    String listen,
    String advertise,
    boolean localSocket,
    String join,
    int shards,
    int replication,
    Raft raft,
    Tls tls,
    Memory memory,
    Disk disk,
    Training training,
    Metrics metrics) {

  /**
   * The replicated log.
   *
   * @param listen host:port of the protocol between servers
   * @param advertise as {@link ServerConfig#advertise}
   * @param electionTimeoutMin milliseconds without a word from the leader before an election; on
   *     hosts that are overloaded 1000 to 5000
   * @param electionTimeoutMax upper end of the random choice
   * @param flushLogBytes log of a shard that may gather before it is flushed and cut; more: fewer
   *     writes, longer restart
   * @param keepEntries entries kept for followers that are a little behind
   * @param compareInterval milliseconds from one comparison of a shard's replicas to the next; 0:
   *     they are not compared
   * @param fsync when the log is brought to disk: always (before it is acknowledged), interval, or
   *     never (left to the operating system)
   * @param fsyncInterval milliseconds from an acknowledgement to that at most, with interval
   * @param payloads where large entries are written: beside Ratis's log, or inside it
   */
  public record Raft(
      String listen,
      String advertise,
      int electionTimeoutMin,
      int electionTimeoutMax,
      String flushLogBytes,
      int keepEntries,
      int compareInterval,
      String fsync,
      int fsyncInterval,
      String payloads) {}

  /**
   * TLS on every port but that of metrics; all files are PEM, and read again when they change.
   *
   * @param certificate of this server, followed by those between it and its authority. It names the
   *     host that {@link ServerConfig#advertise} and {@link Raft#advertise} name, and is for
   *     servers and clients: servers show it to each other. Empty: no TLS
   * @param key of the certificate: PKCS #8, not encrypted, RSA or EC
   * @param ca authorities of the servers' certificates. Whoever has one of theirs can take part in
   *     the replicated log: let clients' certificates come from another
   * @param clientCa authorities of the clients' certificates; empty: clients need none
   */
  public record Tls(String certificate, String key, String ca, String clientCa) {
    /** Checks that the keys go together. */
    public Tls {
      boolean on = !certificate.isBlank();
      require(on, "tls.key", key);
      require(on, "tls.ca", ca);
      if (!on && !clientCa.isBlank()) {
        require(true, "tls.certificate", certificate);
      }
    }

    private static void require(boolean on, String name, String value) {
      if (on == value.isBlank()) {
        throw new IllegalArgumentException(
            "%s is missing: tls.certificate, tls.key and tls.ca go together"
                .formatted(on ? name : "tls.certificate"));
      }
    }

    /** Whether there is TLS. */
    boolean on() {
      return !certificate.isBlank();
    }
  }

  /**
   * Memory outside the Java heap.
   *
   * @param budget of all blocks in memory; the more of the model fits, the less is read from disk
   * @param rocksdbCache of the database's index and filter blocks
   */
  public record Memory(String budget, String rocksdbCache) {}

  /**
   * The disk.
   *
   * @param reserve writes are refused when less is free
   */
  public record Disk(String reserve) {}

  /**
   * Bulk synchronous training.
   *
   * @param bspBuffer memory for gradients that wait for other ranks
   */
  public record Training(String bspBuffer) {}

  /**
   * Prometheus metrics.
   *
   * @param listen host:port of {@code /metrics}; empty: none
   */
  public record Metrics(String listen) {}

  /**
   * For a first try on one machine; production sets the addresses, the directory and the budget.
   */
  public static final ServerConfig DEFAULTS =
      new ServerConfig(
          "tensorhold-data",
          "127.0.0.1:7070",
          "",
          true,
          "",
          8,
          3,
          new Raft("127.0.0.1:7071", "", 500, 1000, "64MiB", 64, 600_000, "always", 1000, "beside"),
          new Tls("", "", "", ""),
          new Memory("1GiB", "32MiB"),
          new Disk("512MiB"),
          new Training("256MiB"),
          new Metrics(""));

  /** Checks what holds for the whole; addresses and sizes are checked where they are read. */
  public ServerConfig {
    if (shards < 1 || shards > Limits.SHARDS) {
      throw new IllegalArgumentException(
          "shards: value=%d allowed=1..%d".formatted(shards, Limits.SHARDS));
    }
    if (replication != 1 && replication != 3 && replication != 5) {
      throw new IllegalArgumentException(
          "replication: value=%d allowed=1, 3 or 5".formatted(replication));
    }
  }

  /** The addresses of {@link #join}. */
  public List<String> joinAddresses() {
    return join.isBlank() ? List.of() : List.of(join.split("\\s*,\\s*"));
  }
}
