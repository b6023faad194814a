package io.tensorhold.server.training;

import io.tensorhold.proto.v1.WorkerSession;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Who was heard of when: the catalog leader's memory, and no part of the replicated state.
 *
 * <p>In a new term every lease starts anew, because nobody knows what the former leader heard. The
 * end of a session is a command of the catalog's log; this only says when to write it.
 */
final class Leases {
  private final Map<Long, Long> heard = new HashMap<>();
  private long term = -1;

  /** Notes a heartbeat. */
  synchronized void heard(long session, long now) {
    heard.put(session, now);
  }

  /** Milliseconds since a session was heard of; 0 if it is new here. */
  synchronized long ageMillis(long session, long now) {
    return (now - heard.getOrDefault(session, now)) / 1_000_000;
  }

  /**
   * The sessions whose leases are over.
   *
   * @param leaderTerm the term in which this server leads the catalog
   * @param now nanoseconds
   */
  synchronized List<Long> over(long leaderTerm, Collection<WorkerSession> live, long now) {
    if (leaderTerm != term) {
      heard.clear();
      term = leaderTerm;
    }
    Map<Long, Long> former = new HashMap<>(heard);
    heard.clear();
    List<Long> over = new ArrayList<>();
    for (WorkerSession worker : live) {
      long last = former.getOrDefault(worker.getSession(), now);
      heard.put(worker.getSession(), last);
      if (now - last > 1_000_000L * worker.getLeaseMs()) {
        over.add(worker.getSession());
      }
    }
    return over;
  }
}
