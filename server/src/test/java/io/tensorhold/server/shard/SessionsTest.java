package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.server.base.Limits;
import io.tensorhold.server.shard.Sessions.Verdict;
import org.junit.jupiter.api.Test;

class SessionsTest {
  @Test
  void appliedPushIsADuplicateFromThenOn() {
    Sessions sessions = new Sessions();
    assertThat(sessions.verdict(7, 1)).isEqualTo(Verdict.NEW);
    sessions.applied(7, 1, 1, 1);
    sessions.applied(7, 3, 1, 2);
    assertThat(sessions.verdict(7, 1)).isEqualTo(Verdict.DUPLICATE);
    assertThat(sessions.verdict(7, 2)).isEqualTo(Verdict.NEW);
    assertThat(sessions.verdict(7, 3)).isEqualTo(Verdict.DUPLICATE);
  }

  @Test
  void pushBelowTheLowWaterMarkIsNeverAppliedAgain() {
    Sessions sessions = new Sessions();
    sessions.applied(7, 10, 10, 1);
    assertThat(sessions.lowWater(7)).isEqualTo(10);
    assertThat(sessions.verdict(7, 9)).isEqualTo(Verdict.DUPLICATE);
    assertThat(sessions.verdict(7, 11)).isEqualTo(Verdict.NEW);
  }

  @Test
  void forgottenSessionIsRefusedNotApplied() {
    Sessions sessions = new Sessions();
    for (int session = 1; session <= Limits.SESSIONS + 1; session++) {
      sessions.applied(session, 1, 1, session);
    }
    assertThat(sessions.size()).isEqualTo(Limits.SESSIONS);
    assertThat(sessions.verdict(1, 1)).isEqualTo(Verdict.EXPIRED);
    assertThat(sessions.verdict(2, 1)).isEqualTo(Verdict.DUPLICATE);
    assertThat(sessions.verdict(Limits.SESSIONS + 2, 1)).isEqualTo(Verdict.NEW);
  }

  @Test
  void sessionsThatPushTogetherAreForgottenAsIfTheyHadPushedOneByOne() {
    Sessions sessions = new Sessions();
    long rounds = Limits.SESSIONS;
    for (long round = 1; round <= rounds; round++) {
      sessions.applied(2 * round, 1, 1, round);
      sessions.applied(2 * round + 1, 1, 1, round);
    }
    assertThat(sessions.size()).isEqualTo(Limits.SESSIONS);
    assertThat(sessions.verdict(rounds, 1)).isEqualTo(Verdict.EXPIRED);
    assertThat(sessions.verdict(rounds + 2, 1)).isEqualTo(Verdict.DUPLICATE);
  }

  @Test
  void windowAboveTheLowWaterMarkIsBounded() {
    Sessions sessions = new Sessions();
    for (int seq = 1; seq <= Limits.SESSION_WINDOW; seq++) {
      sessions.applied(1, seq, 1, seq);
    }
    assertThat(sessions.verdict(1, Limits.SESSION_WINDOW + 1)).isEqualTo(Verdict.WINDOW_FULL);
  }
}
