package io.tensorhold.server.raft;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Function;
import org.apache.ratis.server.protocol.TermIndex;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The transfers of replicas to this server: {@value #AT_ONCE} at once, so that work goes on. */
final class ReplicaFetches implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(ReplicaFetches.class);
  private static final int AT_ONCE = 2;

  private final ReplicaSource source;
  private final Function<String, @Nullable String> addressOf;
  private final ExecutorService threads =
      Executors.newFixedThreadPool(
          AT_ONCE, Thread.ofPlatform().name("fetch-", 0).daemon().factory());

  /** Transfers from servers whose addresses a function knows, or else the source does. */
  ReplicaFetches(ReplicaSource source, Function<String, @Nullable String> addressOf) {
    this.source = source;
    this.addressOf = addressOf;
  }

  /** Where the files of one replica go; see {@link ReplicaFetch}. */
  record Target(int shard, Path receiving, Path received, Path reusable) {}

  /** Fetches a replica in the background. A failure is retried by whoever asked. */
  CompletableFuture<TermIndex> start(Target target, String serverId, long minIndex) {
    return CompletableFuture.supplyAsync(
        () -> {
          try {
            return fetch(target, serverId, minIndex);
          } catch (IOException e) {
            log.warn("fetching from server {} broke off: {}", serverId, e.getMessage());
            throw new UncheckedIOException(e);
          }
        },
        threads);
  }

  /** Fetches a replica. */
  TermIndex fetch(Target target, String serverId, long minIndex) throws IOException {
    String address = addressOf.apply(serverId);
    if (address == null) {
      address = source.addressOf(serverId);
    }
    if (address == null) {
      throw new IOException("nobody knows the address of server " + serverId);
    }
    return new ReplicaFetch(
            source, target.shard(), target.receiving(), target.received(), target.reusable())
        .from(serverId, address, minIndex);
  }

  @Override
  public void close() {
    threads.shutdownNow();
  }
}
