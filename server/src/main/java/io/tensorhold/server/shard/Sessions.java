package io.tensorhold.server.shard;

import io.tensorhold.server.base.Limits;
import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * Which pushes a shard has applied: what makes a retry harmless.
 *
 * <p>Of each session it keeps the low-water mark below which everything was acknowledged or given
 * up, and the sequence numbers above it that were applied. It is part of the replicated state: it
 * changes only as the log says, is flushed with the blocks of the same moment, and is bounded. When
 * there are too many sessions, the one that pushed longest ago in log order is forgotten; from then
 * on an unknown session that is not newer than it is refused, so that a forgotten push is never
 * applied again.
 */
final class Sessions {
  /** What the shard says of a push before it applies it. */
  enum Verdict {
    NEW(null),
    DUPLICATE(Outcome.DUPLICATE),
    EXPIRED(Outcome.EXPIRED),
    WINDOW_FULL(Outcome.WINDOW_FULL);

    /** What becomes of the push; null: it is applied. */
    final @Nullable Outcome objection;

    Verdict(@Nullable Outcome objection) {
      this.objection = objection;
    }
  }

  private static final class Seen {
    long low = 1;
    final TreeSet<Long> applied = new TreeSet<>();
    long lastIndex;
  }

  /** When a session pushed last; several sessions have one push in common. */
  private record LastPush(long order, long session) implements Comparable<LastPush> {
    @Override
    public int compareTo(LastPush other) {
      int byOrder = Long.compare(order, other.order);
      return byOrder != 0 ? byOrder : Long.compareUnsigned(session, other.session);
    }
  }

  private final TreeMap<Long, Seen> sessions = new TreeMap<>(Long::compareUnsigned);
  private final TreeSet<LastPush> byLastPush = new TreeSet<>();
  private long forgotten;

  Verdict verdict(long session, long seq) {
    Seen seen = sessions.get(session);
    if (seen == null) {
      return Long.compareUnsigned(session, forgotten) <= 0 ? Verdict.EXPIRED : Verdict.NEW;
    }
    if (seq < seen.low || seen.applied.contains(seq)) {
      return Verdict.DUPLICATE;
    }
    return seen.applied.size() >= Limits.SESSION_WINDOW ? Verdict.WINDOW_FULL : Verdict.NEW;
  }

  /**
   * Marks a push as applied. {@code order} grows with every push of the log: it decides who is
   * forgotten.
   */
  void applied(long session, long seq, long ackedBelow, long order) {
    Seen seen = sessions.computeIfAbsent(session, id -> new Seen());
    seen.applied.add(seq);
    pushed(session, seen, ackedBelow, order);
  }

  /** Marks as applied what another had marked so of a session; {@code order} as of one push. */
  void adopt(AppliedPushes pushes, long order) {
    Seen seen = sessions.computeIfAbsent(pushes.session(), id -> new Seen());
    for (long seq : pushes.seqs()) {
      seen.applied.add(seq);
    }
    pushed(pushes.session(), seen, pushes.low(), order);
  }

  private void pushed(long session, Seen seen, long ackedBelow, long order) {
    seen.low = Math.max(seen.low, ackedBelow);
    seen.applied.headSet(seen.low).clear();
    byLastPush.remove(new LastPush(seen.lastIndex, session));
    seen.lastIndex = order;
    byLastPush.add(new LastPush(order, session));
    while (sessions.size() > Limits.SESSIONS) {
      long eldest = java.util.Objects.requireNonNull(byLastPush.pollFirst()).session;
      sessions.remove(eldest);
      if (Long.compareUnsigned(eldest, forgotten) > 0) {
        forgotten = eldest;
      }
    }
  }

  /** The applied pushes of every session, those first that pushed longest ago. */
  List<AppliedPushes> all() {
    List<AppliedPushes> all = new ArrayList<>();
    for (LastPush last : byLastPush) {
      Seen seen = sessions.get(last.session);
      all.add(
          new AppliedPushes(
              last.session, seen.low, seen.applied.stream().mapToLong(Long::longValue).toArray()));
    }
    return all;
  }

  @Nullable Long lowWater(long session) {
    Seen seen = sessions.get(session);
    return seen == null ? null : seen.low;
  }

  int size() {
    return sessions.size();
  }

  /** Forgets everything: for pushes outside the log, whose memory ends with the term. */
  void clear() {
    sessions.clear();
    byLastPush.clear();
    forgotten = 0;
  }

  /**
   *
   *
   * <pre>u64 forgotten, u32 n, n × (u64 session, u64 low, u64 last, u32 m, m × u64 seq)</pre>
   */
  void write(DataOutput out) throws IOException {
    out.writeLong(forgotten);
    out.writeInt(sessions.size());
    for (Map.Entry<Long, Seen> entry : sessions.entrySet()) {
      Seen seen = entry.getValue();
      out.writeLong(entry.getKey());
      out.writeLong(seen.low);
      out.writeLong(seen.lastIndex);
      out.writeInt(seen.applied.size());
      for (long seq : seen.applied) {
        out.writeLong(seq);
      }
    }
  }

  void read(DataInput in) throws IOException {
    clear();
    forgotten = in.readLong();
    int count = in.readInt();
    for (int i = 0; i < count; i++) {
      Seen seen = new Seen();
      long session = in.readLong();
      seen.low = in.readLong();
      seen.lastIndex = in.readLong();
      int applied = in.readInt();
      for (int j = 0; j < applied; j++) {
        seen.applied.add(in.readLong());
      }
      sessions.put(session, seen);
      byLastPush.add(new LastPush(seen.lastIndex, session));
    }
  }
}
