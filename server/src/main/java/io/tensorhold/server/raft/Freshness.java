package io.tensorhold.server.raft;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * How old a replica can be at most, by this server's clock alone.
 *
 * <p>A replica is confirmed by a read index (Ongaro's thesis, 6.4): the leader, once sure that it
 * leads, names its commit index, and the replica waits until it has applied that. It then holds all
 * that was acknowledged before the question was asked, so its age is at most the time since then.
 * No two clocks are compared, and no time that a message or a stopped process takes can make a
 * replica look younger than it is. What is confirmed serves every read whose bound it meets; else
 * one question is under way at a time, for all who wait.
 *
 * @param <R> the replica, which equals no other: one that takes its place must be confirmed anew
 */
final class Freshness<R> {
  /** A leader that does not answer for so long is given up: another server may serve the read. */
  static final Duration PATIENCE = Duration.ofSeconds(1);

  private final Supplier<R> replica;
  private final Supplier<CompletableFuture<Void>> question;
  private final LongSupplier nanos;
  private @Nullable Confirmed<R> confirmed;
  private @Nullable Asked<R> asking;

  /** A replica, and a time from which on it holds all that was acknowledged before. */
  private record Confirmed<R>(R replica, long nanos) {}

  /** A question under way. */
  private record Asked<R>(CompletableFuture<R> answer, long nanos) {}

  /**
   * Nothing is confirmed yet.
   *
   * @param replica the one that serves now; throws a {@link Refusal} if none does
   * @param question ends once the replica holds all that was acknowledged before it was asked
   */
  Freshness(Supplier<R> replica, Supplier<CompletableFuture<Void>> question, LongSupplier nanos) {
    this.replica = replica;
    this.question = question;
    this.nanos = nanos;
  }

  /**
   * The replica, once it is sure to hold all that was acknowledged so long before this call; fails
   * with {@link Reason#REPLICA_STALE}.
   */
  CompletableFuture<R> within(Duration staleness) {
    try {
      var _ = replica.get(); // refuses by itself what is damaged or not there
      return since(nanos.getAsLong() - staleness.toNanos())
          .exceptionallyCompose(e -> CompletableFuture.failedFuture(stale(staleness, e)));
    } catch (Refusal none) {
      return CompletableFuture.failedFuture(none);
    }
  }

  private CompletableFuture<R> since(long oldest) {
    Asked<R> asked;
    synchronized (this) {
      Confirmed<R> known = confirmed;
      if (known != null && known.nanos - oldest >= 0 && known.replica.equals(replica.get())) {
        return CompletableFuture.completedFuture(known.replica);
      }
      asked = asking == null ? ask() : asking;
    }
    return asked.nanos - oldest >= 0
        ? asked.answer
        : asked.answer.handle((one, e) -> one).thenCompose(before -> since(oldest));
  }

  private Asked<R> ask() {
    long now = nanos.getAsLong();
    R before = replica.get();
    Asked<R> asked =
        new Asked<>(
            question
                .get()
                .orTimeout(PATIENCE.toMillis(), TimeUnit.MILLISECONDS)
                .thenApply(sure -> confirm(before, now)),
            now);
    asking = asked;
    var _ = asked.answer.whenComplete((one, e) -> answered());
    return asked;
  }

  private synchronized void answered() {
    asking = null;
  }

  private synchronized R confirm(R before, long since) {
    if (!replica.get().equals(before)) {
      throw new Refusal(Reason.UNAVAILABLE, "another replica has taken its place");
    }
    confirmed = new Confirmed<>(before, since);
    return before;
  }

  private synchronized Refusal stale(Duration staleness, Throwable failure) {
    Throwable cause =
        failure instanceof CompletionException && failure.getCause() != null
            ? failure.getCause()
            : failure;
    String age =
        confirmed == null
            ? "never"
            : TimeUnit.NANOSECONDS.toMillis(nanos.getAsLong() - confirmed.nanos) + " ms ago";
    return new Refusal(
        Reason.REPLICA_STALE,
        "this replica may be older than the %d ms asked for, it was confirmed %s: %s; ask the leader"
            .formatted(
                staleness.toMillis(),
                age,
                cause instanceof TimeoutException
                    ? "the leader does not answer"
                    : cause.getMessage()),
        "limit",
        staleness.toMillis());
  }
}
