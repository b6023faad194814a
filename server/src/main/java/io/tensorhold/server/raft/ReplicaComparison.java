package io.tensorhold.server.raft;

import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.EntryBytes;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Compares the replicas of the shards that this server leads, again and again.
 *
 * <p>The same log gives the same bytes, so that the checksums of all replicas are equal at any
 * index. The leader chooses one with a COMPARE entry and asks every member for its checksum there.
 * Where a majority agrees, a member that differs is told so and mends itself as a damaged one does
 * ({@link ShardRepair}); the leader too, which hands its leadership over in doing so, and is told
 * last. Where none agrees nobody knows who is right: that is logged and reported.
 */
final class ReplicaComparison implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(ReplicaComparison.class);
  private static final long APPEND_SECONDS = 30;

  private record Round(long index, long started, Map<String, Long> checksums) {}

  private final String self;
  private final List<ShardReplica> shards;
  private final ReplicaSource source;
  private final Function<String, @Nullable String> addressOf;
  private final Duration interval;
  private final LongSupplier nanoTime;
  private final Map<ShardReplica, Round> rounds = new HashMap<>();
  private final Map<ShardReplica, Long> ended = new HashMap<>();
  private final ScheduledExecutorService loop =
      Executors.newSingleThreadScheduledExecutor(
          Thread.ofPlatform().name("compare").daemon().factory());

  /**
   * A comparison that has not started.
   *
   * @param interval from the end of a shard's comparison to its next one; a member that has not
   *     answered for as long is left to that: it was down, or fetched, at the index, or reads on
   */
  ReplicaComparison(
      String self,
      List<ShardReplica> shards,
      ReplicaSource source,
      Function<String, @Nullable String> addressOf,
      Duration interval,
      LongSupplier nanoTime) {
    this.self = self;
    this.shards = shards;
    this.source = source;
    this.addressOf = addressOf;
    this.interval = interval;
    this.nanoTime = nanoTime;
    shards.forEach(shard -> ended.put(shard, nanoTime.getAsLong()));
  }

  /** Starts to compare; does nothing if the interval is zero. */
  void start() {
    if (!interval.isZero()) {
      long period = Math.clamp(interval.toMillis() / 4, 100, 1000);
      var _ = loop.scheduleWithFixedDelay(this::look, period, period, TimeUnit.MILLISECONDS);
    }
  }

  private void look() {
    for (ShardReplica shard : shards) {
      try {
        look(shard);
      } catch (IOException | RuntimeException e) {
        log.info("the replicas of shard {} can't be compared: {}", shard.shard(), e.getMessage());
        end(shard);
      }
    }
  }

  private void end(ShardReplica shard) {
    rounds.remove(shard);
    ended.put(shard, nanoTime.getAsLong());
  }

  private void look(ShardReplica shard) throws IOException {
    Round round = rounds.get(shard);
    if (!shard.leadership().leads()) {
      rounds.remove(shard);
      shard.compared(-1, "");
    } else if (round != null) {
      gather(shard, round);
      boolean all = round.checksums.keySet().containsAll(shard.members());
      if (all || nanoTime.getAsLong() - round.started > interval.toNanos()) {
        end(shard);
        conclude(shard, round);
      }
    } else if (nanoTime.getAsLong() - ended.get(shard) >= interval.toNanos()) {
      long index =
          shard
              .append(EntryBytes.of(Entry.compare()))
              .orTimeout(APPEND_SECONDS, TimeUnit.SECONDS)
              .join()
              .index();
      rounds.put(shard, new Round(index, nanoTime.getAsLong(), new TreeMap<>()));
    }
  }

  private void gather(ShardReplica shard, Round round) {
    for (String member : shard.members()) {
      if (!round.checksums.containsKey(member)) {
        try {
          tell(shard, member, round.index, OptionalLong.empty())
              .ifPresent(checksum -> round.checksums.put(member, checksum));
        } catch (IOException e) {
          log.debug("server {} does not say its checksum yet: {}", member, e.getMessage());
        }
      }
    }
  }

  private OptionalLong tell(ShardReplica shard, String member, long index, OptionalLong agreed)
      throws IOException {
    if (member.equals(self)) {
      return shard.compare(index, agreed);
    }
    String address = addressOf.apply(member);
    if (address == null) {
      throw new IOException("nobody knows the address of server " + member);
    }
    return source.compare(address, shard.shard(), index, agreed);
  }

  private void conclude(ShardReplica shard, Round round) throws IOException {
    int members = shard.members().size();
    OptionalLong agreed = majority(round.checksums, members);
    if (agreed.isPresent()) {
      shard.compared(round.index, "");
      for (Map.Entry<String, Long> other : round.checksums.entrySet()) {
        if (other.getValue() != agreed.getAsLong() && !other.getKey().equals(self)) {
          log.warn(
              "server {}'s replica of shard {} differs from most at index {}: it is fetched again",
              other.getKey(),
              shard.shard(),
              round.index);
          var _ = tell(shard, other.getKey(), round.index, agreed);
        }
      }
      var _ = shard.compare(round.index, agreed);
    } else if (round.checksums.values().stream().distinct().count() > 1) {
      Map<String, String> sums = new TreeMap<>();
      round.checksums.forEach((server, sum) -> sums.put(server, Long.toHexString(sum)));
      String difference =
          "at index %d, checksums %s of %d replicas: remove the servers that are wrong, they can join again empty"
              .formatted(round.index, sums, members);
      shard.compared(-1, difference);
      log.error(
          "the replicas of shard {} differ, and no majority agrees: {}", shard.shard(), difference);
    } else {
      log.info(
          "shard {}: only {} of {} replicas have said their checksum at index {}",
          shard.shard(),
          round.checksums.size(),
          members,
          round.index);
    }
  }

  /** What more than half of all members say. */
  static OptionalLong majority(Map<String, Long> checksums, int members) {
    Map<Long, Integer> votes = new HashMap<>();
    checksums.values().forEach(checksum -> votes.merge(checksum, 1, Integer::sum));
    return votes.entrySet().stream()
        .filter(vote -> 2 * vote.getValue() > members)
        .mapToLong(Map.Entry::getKey)
        .findFirst();
  }

  @Override
  public void close() {
    loop.shutdownNow();
  }
}
