package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import org.apache.ratis.conf.RaftProperties;
import org.apache.ratis.retry.RetryPolicy;
import org.apache.ratis.server.RaftServerConfigKeys;
import org.apache.ratis.util.TimeDuration;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RaftSettingsTest {

  /** Otherwise a follower whose database is ahead of its log gets heartbeats only, for ever. */
  @ParameterizedTest
  @ValueSource(ints = {20, 150, 1000, 10_000})
  void leaderThatFailedTriesAgainBeforeTheNextHeartbeat(int electionTimeoutMillis) {
    Duration timeout = Duration.ofMillis(electionTimeoutMillis);
    RaftProperties properties =
        new RaftSettings(
                timeout,
                timeout.multipliedBy(2),
                64L << 20,
                64,
                Duration.ZERO,
                Fsync.ALWAYS,
                Duration.ofSeconds(1),
                true)
            .properties(Path.of("raft"), InetSocketAddress.createUnresolved("localhost", 1));
    RetryPolicy policy =
        RetryPolicy.parse(
            RaftServerConfigKeys.Log.Appender.retryPolicy(properties), "the appender's policy");
    TimeDuration heartbeats = RaftServerConfigKeys.Rpc.timeoutMin(properties).multiply(0.5);
    for (int attempt : new int[] {1, 10, 11, 31, 2000, 1 << 30}) {
      RetryPolicy.Action action = policy.handleAttemptFailure(() -> attempt);
      assertThat(action.shouldRetry()).isTrue();
      assertThat(action.getSleepTime()).isLessThan(heartbeats.multiply(0.5));
    }
  }
}
