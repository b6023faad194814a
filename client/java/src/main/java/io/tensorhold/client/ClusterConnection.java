package io.tensorhold.client;

import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.tensorhold.proto.v1.CatalogGrpc;
import io.tensorhold.proto.v1.ClusterGrpc;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.GetClusterMapRequest;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.proto.v1.TrainingGrpc;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.TlsIdentity;
import java.time.Duration;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** Channels to the servers of a cluster, and who leads what, as last heard. */
final class ClusterConnection implements AutoCloseable {
  private static final int MAP_DEADLINE_SECONDS = 2;
  private static final int ATTEMPT_SECONDS = 5;

  /** Who looks for a leader waits for the other servers so long when one has answered. */
  private static final Duration REST = Duration.ofMillis(250);

  /** A leader that answers nothing for so long may be one no more. */
  static final Duration SILENCE = Duration.ofSeconds(1);

  /** What was heard so lately is not asked for again by those who only wonder. */
  private static final Duration RECENT = Duration.ofSeconds(1);

  /** Attempts with short pauses: as long as an election takes. */
  private static final int QUICK = 16;

  /** The last question to the servers: when it was asked, and what was wrong with the answer. */
  private record Heard(long asked, @Nullable TensorholdException failure) {}

  private final ClientOptions options;
  private final @Nullable TlsIdentity tls;
  private final Map<String, ManagedChannel> channels = new ConcurrentHashMap<>();
  private final LocalChannels local = new LocalChannels();
  private final ReplicaChoice replicas = new ReplicaChoice();
  private final Map<String, RowPuller> rowPullers = new ConcurrentHashMap<>();
  private final ExecutorService executor = Executors.newVirtualThreadPerTaskExecutor();
  private final MapQuery query = new MapQuery(this::askMap, executor);
  private final ReentrantLock asking = new ReentrantLock();
  private volatile Heard heard = new Heard(System.nanoTime(), null);
  private volatile @Nullable ClusterMap map;
  private volatile boolean closed;

  ClusterConnection(ClientOptions options) {
    this.options = options;
    this.tls = TlsIdentity.ofClient(options.tls());
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

  /** Addresses of the servers that are reached over Unix domain sockets now. */
  Set<String> localServers() {
    return local.addresses();
  }

  ManagedChannel channel(String address) {
    ManagedChannel near = local.channel(address);
    return near != null ? near : tcp(address);
  }

  private ManagedChannel tcp(String address) {
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
            return ChannelSettings.client(host, port, tls).build();
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

  /** Ends what has waited for longer than its deadline, or for a server that leads nothing more. */
  void sweep() {
    rowPullers.values().forEach(RowPuller::sweep);
  }

  /** The map as last heard. */
  ClusterMap map() {
    ClusterMap known = map;
    return known != null ? known : wholeMap();
  }

  /** The map as all servers tell it that answer in two seconds. */
  ClusterMap wholeMap() {
    return ask(deadlineNanos(), Duration.ofSeconds(MAP_DEADLINE_SECONDS));
  }

  /**
   * Looks for leaders anew.
   *
   * @throws TensorholdException if no server answers before the deadline
   */
  ClusterMap refresh(long deadline) {
    return ask(deadline, REST);
  }

  /** Whether the map as of a second ago names another leader of a shard than this one. */
  boolean leadsNoMore(int shard, String address) {
    ClusterMap recent = recentMap();
    String leader = address(recent, recent.getShards(shard).getLeader());
    return leader != null && !leader.equals(address);
  }

  /** Whether the map as of a second ago names leaders for all shards, and this is none of them. */
  boolean leadsNothing(String address) {
    ClusterMap recent = recentMap();
    return recent.getShardsList().stream()
        .map(shard -> address(recent, shard.getLeader()))
        .allMatch(leader -> leader != null && !leader.equals(address));
  }

  /** Why a stream to a server is given up that others follow no more. */
  static TensorholdException leftBehind(String address) {
    return new TensorholdException("UNAVAILABLE", address + " is silent and leads no more");
  }

  private ClusterMap recentMap() {
    long now = System.nanoTime();
    if (now - heard.asked > RECENT.toNanos()) {
      try {
        return refresh(now);
      } catch (TensorholdException nobodyAnswers) {
        // Then nobody is known to lead instead.
      }
    }
    return map();
  }

  private ClusterMap ask(long deadline, Duration patience) {
    TensorholdException last = null;
    for (int attempt = 0; ; attempt++) {
      try {
        return askOnce(patience);
      } catch (TensorholdException e) {
        last = e;
      }
      if (last.reason().equals(TensorholdException.TLS_FAILED)) {
        throw last;
      }
      if (!pause(attempt, deadline)) {
        throw new TensorholdException(
            "UNAVAILABLE",
            "no server of the cluster answers (%s): %s%s"
                .formatted(
                    String.join(", ", addresses()),
                    last.getMessage(),
                    tls == null && String.valueOf(last.getMessage()).startsWith("Network closed")
                        ? "; if it uses TLS, name the authority of its certificate: --tls-ca, TENSORHOLD_TLS_CA"
                        : ""));
      }
    }
  }

  /** One question at a time: those who come while it is out share the next. */
  private ClusterMap askOnce(Duration patience) {
    long came = System.nanoTime();
    asking.lock();
    try {
      if (heard.asked - came < 0) {
        long asked = System.nanoTime();
        try {
          map = query.ask(addresses(), patience, map);
          heard = new Heard(asked, null);
        } catch (TensorholdException e) {
          heard = new Heard(asked, e);
        }
      }
      if (heard.failure != null) {
        throw heard.failure;
      }
      return map();
    } finally {
      asking.unlock();
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

  /** Over the socket of a server on this host, or, if nobody answers there any more, over TCP. */
  private ClusterMap askMap(String address) {
    try {
      ClusterMap answer = askMap(channel(address));
      local.offer(address, answer);
      return answer;
    } catch (StatusRuntimeException e) {
      if (local.drop(address)) {
        return askMap(tcp(address));
      }
      throw e;
    }
  }

  private static ClusterMap askMap(ManagedChannel channel) {
    return ClusterGrpc.newBlockingStub(channel)
        .withDeadlineAfter(MAP_DEADLINE_SECONDS, TimeUnit.SECONDS)
        .getClusterMap(GetClusterMapRequest.getDefaultInstance());
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

  /**
   * Waits before the next attempt, never two clients alike: a tenth of a second while an election
   * may be going on, then four tenths; false: no time is left.
   */
  boolean pause(int attempt, long deadline) {
    long base = Duration.ofMillis(50).toNanos() << (attempt < QUICK ? Math.min(attempt, 1) : 3);
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
    local.close();
    channels.values().forEach(ManagedChannel::shutdownNow);
    executor.shutdownNow();
  }
}
