package io.tensorhold.client;

import io.grpc.ManagedChannel;
import io.tensorhold.proto.v1.CatalogGrpc;
import io.tensorhold.proto.v1.ClusterGrpc;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.GetClusterMapRequest;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.proto.v1.Shard;
import io.tensorhold.proto.v1.TrainingGrpc;
import io.tensorhold.wire.ChannelSettings;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** Channels to the servers of a cluster, and who leads what, as last heard. */
final class ClusterConnection implements AutoCloseable {
  private static final int MAP_DEADLINE_SECONDS = 2;
  private static final int ATTEMPT_SECONDS = 5;

  private final ClientOptions options;
  private final Map<String, ManagedChannel> channels = new ConcurrentHashMap<>();
  private final ReplicaChoice replicas = new ReplicaChoice();
  private final Map<String, RowPuller> rowPullers = new ConcurrentHashMap<>();
  private final ExecutorService executor = Executors.newVirtualThreadPerTaskExecutor();
  private volatile @Nullable ClusterMap map;
  private volatile boolean closed;

  ClusterConnection(ClientOptions options) {
    this.options = options;
  }

  ClientOptions options() {
    return options;
  }

  /** Which replicas are asked by pulls that need not ask leaders. */
  ReplicaChoice replicas() {
    return replicas;
  }

  /** Virtual threads for work that may wait. */
  Executor executor() {
    return executor;
  }

  long deadlineNanos() {
    return System.nanoTime() + options.deadline().toNanos();
  }

  ManagedChannel channel(String address) {
    return channels.computeIfAbsent(
        address,
        text -> {
          int colon = text.lastIndexOf(':');
          if (colon < 1) {
            throw new TensorholdException(
                "REQUEST_INVALID", "server: value=\"%s\" allowed=HOST:PORT".formatted(text));
          }
          String host = text.substring(0, colon);
          if (host.startsWith("[") && host.endsWith("]")) {
            host = host.substring(1, host.length() - 1);
          }
          try {
            int port = Integer.parseInt(text.substring(colon + 1));
            return ChannelSettings.client(host, port).build();
          } catch (NumberFormatException e) {
            throw new TensorholdException(
                "REQUEST_INVALID", "server: value=\"%s\" allowed=HOST:PORT".formatted(text));
          }
        });
  }

  /** The pulls of rows from a server. */
  RowPuller rows(String address) {
    return rowPullers.computeIfAbsent(address, text -> new RowPuller(this, text));
  }

  /** The map as last heard. */
  ClusterMap map() {
    ClusterMap known = map;
    return known != null ? known : refresh(deadlineNanos());
  }

  /**
   * Asks every server that is known, and believes for each shard the one that saw the highest term.
   *
   * @throws TensorholdException if none answers before the deadline
   */
  ClusterMap refresh(long deadline) {
    TensorholdException last = null;
    for (int attempt = 0; ; attempt++) {
      try {
        ClusterMap merged = askAll();
        map = merged;
        return merged;
      } catch (TensorholdException e) {
        last = e;
      }
      if (!pause(attempt, deadline)) {
        throw new TensorholdException(
            "UNAVAILABLE",
            "no server of the cluster answers (%s): %s"
                .formatted(String.join(", ", addresses()), last.getMessage()));
      }
    }
  }

  private Set<String> addresses() {
    Set<String> addresses = new LinkedHashSet<>();
    ClusterMap known = map;
    if (known != null) {
      known.getServersList().forEach(server -> addresses.add(server.getAddress()));
    }
    addresses.addAll(options.servers());
    return addresses;
  }

  private ClusterMap askAll() {
    List<CompletableFuture<ClusterMap>> asked = new ArrayList<>();
    for (String address : addresses()) {
      asked.add(
          CompletableFuture.supplyAsync(
              () ->
                  ClusterGrpc.newBlockingStub(channel(address))
                      .withDeadlineAfter(MAP_DEADLINE_SECONDS, TimeUnit.SECONDS)
                      .getClusterMap(GetClusterMapRequest.getDefaultInstance()),
              executor));
    }
    ClusterMap.Builder merged = null;
    TensorholdException failure = null;
    for (CompletableFuture<ClusterMap> answer : asked) {
      try {
        merged = merge(merged, answer.get());
      } catch (ExecutionException e) {
        failure = TensorholdException.of(e.getCause() == null ? e : e.getCause());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new TensorholdException("CANCELLED", "interrupted");
      }
    }
    if (merged == null) {
      throw failure == null
          ? new TensorholdException("UNAVAILABLE", "no server is known")
          : failure;
    }
    return merged.build();
  }

  private static ClusterMap.Builder merge(ClusterMap.@Nullable Builder merged, ClusterMap answer) {
    if (merged == null) {
      return answer.toBuilder();
    }
    ClusterMap.Builder newer =
        Long.compareUnsigned(answer.getEpoch(), merged.getEpoch()) > 0
            ? answer.toBuilder()
            : merged;
    ClusterMap other = newer == merged ? answer : merged.build();
    for (int i = 0; i < Math.min(newer.getShardsCount(), other.getShardsCount()); i++) {
      Shard seen = other.getShards(i);
      Shard mine = newer.getShards(i);
      boolean later = Long.compareUnsigned(seen.getTerm(), mine.getTerm()) > 0;
      boolean sameTermKnown = seen.getTerm() == mine.getTerm() && mine.getLeader().isEmpty();
      if (!seen.getLeader().isEmpty() && (later || sameTermKnown)) {
        newer.getShardsBuilder(i).setLeader(seen.getLeader()).setTerm(seen.getTerm());
      }
    }
    if (newer.getCatalogLeader().isEmpty()) {
      newer.setCatalogLeader(other.getCatalogLeader());
    }
    return newer;
  }

  /** Address of the server that leads a shard; null if nobody is known to. */
  @Nullable String leader(int shard) {
    ClusterMap known = map();
    return shard < known.getShardsCount()
        ? address(known, known.getShards(shard).getLeader())
        : null;
  }

  /** Calls the leader of a shard, wherever it is, until it answers or the deadline has passed. */
  <T> T shardLeader(int shard, Function<ManagedChannel, T> call) {
    long deadline = deadlineNanos();
    for (int attempt = 0; ; attempt++) {
      String leader = leader(shard);
      TensorholdException failure =
          new TensorholdException("UNAVAILABLE", "shard %d has no leader now".formatted(shard));
      if (leader != null) {
        try {
          return call.apply(channel(leader));
        } catch (RuntimeException e) {
          failure = TensorholdException.of(e);
        }
      }
      boolean again = failure.retryable() || failure.reason().equals("DEADLINE_EXCEEDED");
      if (!again || !pause(attempt, deadline)) {
        throw failure;
      }
      refresh(deadline);
    }
  }

  static @Nullable String address(ClusterMap map, String id) {
    for (Server server : map.getServersList()) {
      if (server.getId().equals(id)) {
        return server.getAddress();
      }
    }
    return null;
  }

  /** Calls the catalog's leader, wherever it is, until it answers or the deadline has passed. */
  <T> T catalog(Function<CatalogGrpc.CatalogBlockingStub, T> call) {
    return catalogLeader(
        channel ->
            call.apply(
                CatalogGrpc.newBlockingStub(channel)
                    .withDeadlineAfter(ATTEMPT_SECONDS, TimeUnit.SECONDS)));
  }

  /** As {@link #catalog}, for the calls about workers. */
  <T> T training(Function<TrainingGrpc.TrainingBlockingStub, T> call) {
    return catalogLeader(
        channel ->
            call.apply(
                TrainingGrpc.newBlockingStub(channel)
                    .withDeadlineAfter(ATTEMPT_SECONDS, TimeUnit.SECONDS)));
  }

  /** As {@link #catalog}, for calls of the Cluster service that the catalog's leader answers. */
  <T> T cluster(Function<ClusterGrpc.ClusterBlockingStub, T> call) {
    return catalogLeader(
        channel ->
            call.apply(
                ClusterGrpc.newBlockingStub(channel)
                    .withDeadlineAfter(ATTEMPT_SECONDS, TimeUnit.SECONDS)));
  }

  private <T> T catalogLeader(Function<ManagedChannel, T> call) {
    long deadline = deadlineNanos();
    ClusterMap known = map();
    String next = address(known, known.getCatalogLeader());
    for (int attempt = 0; ; attempt++) {
      TensorholdException failure;
      try {
        if (next == null) {
          throw new TensorholdException("UNAVAILABLE", "the catalog has no leader now");
        }
        return call.apply(channel(next));
      } catch (RuntimeException e) {
        failure = TensorholdException.of(e);
      }
      if (failure.reason().equals("DEADLINE_EXCEEDED")) {
        failure = new TensorholdException("UNAVAILABLE", String.valueOf(failure.getMessage()));
      }
      if (!failure.retryable()) {
        throw failure;
      }
      String hint = failure.details().get("leader");
      if (hint != null && !hint.equals(next)) {
        next = hint;
      } else {
        if (!pause(attempt, deadline)) {
          throw failure;
        }
        ClusterMap fresh = refresh(deadline);
        next = address(fresh, fresh.getCatalogLeader());
      }
    }
  }

  /** Waits a little longer with each attempt, never two clients alike; false: no time is left. */
  boolean pause(int attempt, long deadline) {
    long base = Duration.ofMillis(50).toNanos() << Math.min(attempt, 3);
    long wait = base / 2 + ThreadLocalRandom.current().nextLong(base);
    if (closed || System.nanoTime() + wait > deadline) {
      return false;
    }
    LockSupport.parkNanos(wait);
    return !Thread.currentThread().isInterrupted();
  }

  boolean closed() {
    return closed;
  }

  @Override
  public void close() {
    closed = true;
    channels.values().forEach(ManagedChannel::shutdownNow);
    executor.shutdownNow();
  }
}
