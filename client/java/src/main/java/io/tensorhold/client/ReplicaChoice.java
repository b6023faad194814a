package io.tensorhold.client;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.Shard;
import java.net.InetAddress;
import java.net.NetworkInterface;
import java.net.SocketException;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Which replica a pull asks that need not ask the leader: one on this host if there is one, else
 * all in turn; none that has lately refused or not answered.
 */
final class ReplicaChoice {
  private static final Duration AVOIDED_FOR = Duration.ofSeconds(10);

  private final Map<String, Boolean> local = new ConcurrentHashMap<>();
  private final Map<String, Long> avoidedSince = new ConcurrentHashMap<>();
  private final AtomicInteger turns = new AtomicInteger(ThreadLocalRandom.current().nextInt());

  /** A pull's turn: the next one begins with other replicas. */
  int turn() {
    return turns.getAndIncrement();
  }

  /** Address of the replica of a shard to ask; null if nothing speaks for one but the leader. */
  @Nullable String choose(ClusterMap map, Shard shard, int turn) {
    List<String> all =
        shard.getReplicasList().stream()
            .map(id -> ClusterConnection.address(map, id))
            .filter(Objects::nonNull)
            .filter(address -> !avoided(address))
            .toList();
    List<String> near = new ArrayList<>(all);
    near.removeIf(address -> !isLocal(address));
    List<String> from = near.isEmpty() ? all : near;
    return from.isEmpty() ? null : from.get(Math.floorMod(turn + shard.getShard(), from.size()));
  }

  /** Asks others for a while. */
  void avoid(String address) {
    avoidedSince.put(address, System.nanoTime());
  }

  private boolean avoided(String address) {
    Long since = avoidedSince.get(address);
    return since != null && System.nanoTime() - since < AVOIDED_FOR.toNanos();
  }

  private boolean isLocal(String address) {
    return local.computeIfAbsent(
        address,
        text -> {
          try {
            String host = text.substring(0, text.lastIndexOf(':'));
            InetAddress resolved = InetAddress.getByName(host);
            return resolved.isLoopbackAddress()
                || NetworkInterface.getByInetAddress(resolved) != null;
          } catch (UnknownHostException | SocketException e) {
            return false;
          }
        });
  }
}
