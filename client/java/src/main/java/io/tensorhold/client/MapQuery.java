package io.tensorhold.client;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.Shard;
import java.time.Duration;
import java.util.Collection;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * What the servers of a cluster know of it, put together: for each shard the leader of the highest
 * term that any of them saw.
 *
 * @param one asks one server for its map; throws what {@link TensorholdException#of} understands
 */
record MapQuery(Function<String, ClusterMap> one, Executor executor) {
  private record Answer(
      String address, @Nullable ClusterMap map, @Nullable TensorholdException failure) {}

  /**
   * Asks all of them.
   *
   * @param patience how long the others are waited for after the first has answered: a server that
   *     hangs or is cut off shall not keep who looks for a leader
   * @param known counts as the answer of those that were not waited for
   * @throws TensorholdException TLS_FAILED if that is what keeps any of them from answering, else
   *     as the last that failed, if none has answered
   */
  ClusterMap ask(Collection<String> addresses, Duration patience, @Nullable ClusterMap known) {
    BlockingQueue<Answer> answers = new LinkedBlockingQueue<>();
    for (String address : addresses) {
      executor.execute(() -> answers.add(answer(address)));
    }
    ClusterMap merged = null;
    TensorholdException failure = null;
    long until = 0;
    for (int left = addresses.size(); left > 0; left--) {
      Answer next = merged == null ? take(answers) : poll(answers, until - System.nanoTime());
      if (next == null) {
        return known == null ? merged : merge(merged, known);
      }
      if (next.map != null) {
        until = merged == null ? System.nanoTime() + patience.toNanos() : until;
        merged = merged == null ? next.map : merge(merged, next.map);
      } else if (next.failure != null && !tlsFailed(failure)) {
        failure =
            tlsFailed(next.failure)
                ? new TensorholdException(
                    next.failure.reason(),
                    "TLS with %s: %s".formatted(next.address, next.failure.getMessage()))
                : next.failure;
      }
    }
    if (merged == null) {
      throw failure == null
          ? new TensorholdException("UNAVAILABLE", "no server is known")
          : failure;
    }
    return merged;
  }

  private Answer answer(String address) {
    try {
      return new Answer(address, one.apply(address), null);
    } catch (RuntimeException e) {
      return new Answer(address, null, TensorholdException.of(e));
    }
  }

  private static boolean tlsFailed(@Nullable TensorholdException failure) {
    return failure != null && failure.reason().equals(TensorholdException.TLS_FAILED);
  }

  private static Answer take(BlockingQueue<Answer> answers) {
    try {
      return answers.take();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new TensorholdException("CANCELLED", "interrupted");
    }
  }

  private static @Nullable Answer poll(BlockingQueue<Answer> answers, long nanos) {
    try {
      return answers.poll(nanos, TimeUnit.NANOSECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new TensorholdException("CANCELLED", "interrupted");
    }
  }

  private static ClusterMap merge(ClusterMap one, ClusterMap answer) {
    boolean later = Long.compareUnsigned(answer.getEpoch(), one.getEpoch()) > 0;
    ClusterMap.Builder newer = (later ? answer : one).toBuilder();
    ClusterMap other = later ? one : answer;
    for (int i = 0; i < Math.min(newer.getShardsCount(), other.getShardsCount()); i++) {
      Shard seen = other.getShards(i);
      Shard mine = newer.getShards(i);
      boolean laterTerm = Long.compareUnsigned(seen.getTerm(), mine.getTerm()) > 0;
      boolean sameTermKnown = seen.getTerm() == mine.getTerm() && mine.getLeader().isEmpty();
      if (!seen.getLeader().isEmpty() && (laterTerm || sameTermKnown)) {
        newer.getShardsBuilder(i).setLeader(seen.getLeader()).setTerm(seen.getTerm());
      }
    }
    if (newer.getCatalogLeader().isEmpty()) {
      newer.setCatalogLeader(other.getCatalogLeader());
    }
    return newer.build();
  }
}
