package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;

/** When a replica is fresh enough, with the leader's answers and the clock in the test's hands. */
class FreshnessTest {
  private static final Duration BOUND = Duration.ofMillis(100);

  private final Deque<CompletableFuture<Void>> questions = new ArrayDeque<>();
  private long millis = 5000;
  private String replica = "first";
  private final Freshness<String> freshness =
      new Freshness<>(
          () -> {
            if (replica.isEmpty()) {
              throw new Refusal(Reason.UNAVAILABLE, "damaged");
            }
            return replica;
          },
          () -> {
            questions.add(new CompletableFuture<>());
            return questions.getLast();
          },
          () -> millis * 1_000_000);

  private void answer() {
    questions.remove().complete(null);
  }

  private static void refused(CompletableFuture<String> read, Reason reason, String text) {
    assertThatThrownBy(read::join)
        .isInstanceOf(CompletionException.class)
        .cause()
        .isInstanceOfSatisfying(
            Refusal.class, refusal -> assertThat(refusal.reason()).isEqualTo(reason))
        .hasMessageContaining(text);
  }

  @Test
  void ageCountsFromTheQuestionAndNotFromItsAnswer() {
    CompletableFuture<String> read = freshness.within(BOUND);
    millis += 60;
    assertThat(read).isNotDone();
    answer();
    assertThat(read).isCompletedWithValue("first");
    millis += 40;
    assertThat(freshness.within(BOUND)).isCompletedWithValue("first");
    millis += 1;
    assertThat(freshness.within(BOUND)).isNotDone();
    assertThat(questions).hasSize(1);
  }

  @Test
  void readersShareAQuestionThatIsYoungEnough() {
    CompletableFuture<String> first = freshness.within(BOUND);
    millis += 100;
    CompletableFuture<String> second = freshness.within(BOUND);
    assertThat(questions).hasSize(1);
    answer();
    assertThat(first).isCompletedWithValue("first");
    assertThat(second).isCompletedWithValue("first");
  }

  @Test
  void questionThatIsTooOldIsAskedAgain() {
    CompletableFuture<String> first = freshness.within(BOUND);
    millis += 101;
    CompletableFuture<String> second = freshness.within(BOUND);
    answer();
    assertThat(first).isCompletedWithValue("first");
    assertThat(second).isNotDone();
    answer();
    assertThat(second).isCompletedWithValue("first");
  }

  @Test
  void replicaThatWasReplacedMustBeConfirmedAnew() {
    CompletableFuture<String> read = freshness.within(BOUND);
    answer();
    assertThat(read).isCompletedWithValue("first");
    replica = "second";
    CompletableFuture<String> next = freshness.within(BOUND);
    assertThat(next).isNotDone();
    replica = "third";
    answer();
    refused(next, Reason.REPLICA_STALE, "another replica has taken its place");
  }

  @Test
  void damagedReplicaServesNothing() {
    CompletableFuture<String> read = freshness.within(BOUND);
    answer();
    assertThat(read).isCompletedWithValue("first");
    replica = "";
    refused(freshness.within(BOUND), Reason.UNAVAILABLE, "damaged");
    assertThat(questions).isEmpty();
  }

  @Test
  void refusalSaysWhenTheReplicaWasConfirmedLast() {
    var _ = freshness.within(BOUND);
    answer();
    millis += 250;
    CompletableFuture<String> read = freshness.within(BOUND);
    questions.remove().completeExceptionally(new Refusal(Reason.UNAVAILABLE, "no leader"));
    refused(read, Reason.REPLICA_STALE, "the 100 ms asked for, it was confirmed 250 ms ago");
  }
}
