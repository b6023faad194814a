package io.tensorhold.server.shard;

import io.tensorhold.server.shard.StepMark.Piece;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInput;
import java.io.DataInputStream;
import java.io.DataOutput;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The steps of one model on one shard: which session holds each rank, and how far it has come.
 *
 * <p>A rank is held by the newest session that claimed it or pushed a step of it; what an older one
 * sends is refused from then on. The holder changes by the log alone, so the order of the log
 * decides what of the former one counts: that, and no more. A part of a step counts once for its
 * rank, whichever session sends it. So a worker that was killed in the middle of a step and starts
 * again sends the whole step; the shards that have it say so.
 *
 * <p>When ranks step together, {@code closed} says which parts were made, by whomever; a rank that
 * was not among them is told so. The factors of the latest step are kept, so that the parts of it
 * which are still to be made, here and on other shards, are made with the same.
 */
final class ModelSteps {
  private static final class Rank {
    long session;

    /** What counts up to here is of earlier sessions, whose bytes the holder can't know. */
    long inherited;

    /** Where the rank's clock stood, for the ranks that wait for it, before its first step. */
    long base;

    StepCounter counter = new StepCounter();

    long clock() {
      return Math.max(counter.whole(), base);
    }
  }

  private final TreeMap<Integer, Rank> ranks = new TreeMap<>();
  private StepCounter closed = new StepCounter();

  /** The latest step that was made with factors, and they; 0 and null: none was. */
  private long factored;

  private @Nullable StepFactors factors;

  /** What stands against a piece of a push; null: nothing. */
  @Nullable Outcome objection(StepMark mark, Piece piece, long session) {
    Rank rank = ranks.get(piece.rank());
    if (rank != null && Long.compareUnsigned(session, rank.session) < 0) {
      return Outcome.FENCED;
    }
    if (rank != null) {
      Outcome repeated = repeated(rank, mark, piece, session);
      if (repeated != null) {
        return repeated;
      }
    }
    if (mark.together()) {
      if (closed.has(mark.step(), mark.part())) {
        return Outcome.CLOSED;
      }
      if (!closed.expects(mark.step(), mark.parts())) {
        return Outcome.UNFINISHED;
      }
      StepFactors made = factors(mark.step());
      return mark.factors() == null || made == null || made.equals(mark.factors())
          ? null
          : Outcome.CONFLICT;
    }
    return rank == null || rank.counter.expects(mark.step(), mark.parts())
        ? null
        : Outcome.UNFINISHED;
  }

  private @Nullable Outcome repeated(Rank rank, StepMark mark, Piece piece, long session) {
    if (session != rank.session) {
      boolean had =
          mark.step() <= reached(rank, mark.together())
              || rank.counter.has(mark.step(), mark.part());
      return had ? Outcome.DUPLICATE : null;
    }
    if (mark.step() <= rank.inherited) {
      return Outcome.DUPLICATE;
    }
    if (!rank.counter.has(mark.step(), mark.part())) {
      return null;
    }
    if (mark.step() != rank.counter.latest()) {
      return Outcome.CLOSED;
    }
    return rank.counter.sameBytes(mark.part(), piece.crc()) ? Outcome.DUPLICATE : Outcome.CONFLICT;
  }

  private long reached(Rank rank, boolean together) {
    return together ? closed.whole() : rank.counter.whole();
  }

  /** Counts a push that nothing stood against. */
  void applied(StepMark mark, Piece piece, long session) {
    Rank rank = hold(piece.rank(), session, mark.together());
    rank.counter.add(mark.step(), mark.part(), mark.parts(), piece.crc());
    if (mark.together() && !closed.has(mark.step(), mark.part())) {
      closed.add(mark.step(), mark.part(), mark.parts(), 0);
    }
    if (mark.factors() != null) {
      factored = mark.step();
      factors = mark.factors();
    }
  }

  /**
   * Makes a session the holder of a rank.
   *
   * @param base where the clock of a rank that has made no step stands
   * @return FENCED if a newer session holds it
   */
  Outcome claim(int number, long session, boolean together, long base) {
    Rank rank = ranks.get(number);
    if (rank != null && Long.compareUnsigned(session, rank.session) <= 0) {
      return session == rank.session ? Outcome.DUPLICATE : Outcome.FENCED;
    }
    rank = hold(number, session, together);
    rank.base = Math.max(rank.base, base);
    rank.counter.leaveOut(base);
    return Outcome.APPLIED;
  }

  private Rank hold(int number, long session, boolean together) {
    Rank rank = ranks.computeIfAbsent(number, n -> new Rank());
    if (rank.session != session) {
      rank.session = session;
      rank.inherited = reached(rank, together);
      rank.counter.forgetBytes();
    }
    return rank;
  }

  /**
   * Becomes what a leader's overlay had counted at a checkpoint of a CHECKPOINTED model; a session
   * that has claimed its rank since goes on holding it.
   */
  void adopt(ModelSteps checkpointed) {
    checkpointed.ranks.forEach(
        (number, rank) -> {
          Rank before = ranks.put(number, rank);
          if (before != null && Long.compareUnsigned(before.session, rank.session) > 0) {
            hold(number, before.session, false);
          }
        });
  }

  byte[] toBytes() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      write(out);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  static ModelSteps of(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      return read(in, true);
    } catch (IOException e) {
      throw new IllegalArgumentException("the steps of a model are cut short", e);
    }
  }

  /** See {@link RankStep}. */
  Map<Integer, RankStep> ranks() {
    Map<Integer, RankStep> steps = new TreeMap<>();
    ranks.forEach(
        (number, rank) ->
            steps.put(number, new RankStep(rank.session, rank.counter.whole(), rank.clock())));
    return steps;
  }

  long closedStep() {
    return closed.whole();
  }

  /** What a step was made with, if it is the latest and any part of it was. */
  @Nullable StepFactors factors(long step) {
    return step == factored ? factors : null;
  }

  /**
   *
   *
   * <pre>
   * counter of all, u32 n, n × (u32 rank, u64 session, u64 inherited, u64 base, counter),
   * u64 step made with factors (0: none, and the end; format 2 ends before it), factors:
   * f32 gradient scale, u32 n, n × f32 trust
   * </pre>
   */
  void write(DataOutput out) throws IOException {
    closed.write(out);
    out.writeInt(ranks.size());
    for (Map.Entry<Integer, Rank> entry : ranks.entrySet()) {
      Rank rank = entry.getValue();
      out.writeInt(entry.getKey());
      out.writeLong(rank.session);
      out.writeLong(rank.inherited);
      out.writeLong(rank.base);
      rank.counter.write(out);
    }
    out.writeLong(factored);
    if (factors != null) {
      factors.write(out);
    }
  }

  static ModelSteps read(DataInput in, boolean withFactors) throws IOException {
    ModelSteps steps = new ModelSteps();
    steps.closed = StepCounter.read(in);
    int count = in.readInt();
    for (int i = 0; i < count; i++) {
      Rank rank = new Rank();
      int number = in.readInt();
      rank.session = in.readLong();
      rank.inherited = in.readLong();
      rank.base = in.readLong();
      rank.counter = StepCounter.read(in);
      steps.ranks.put(number, rank);
    }
    steps.factored = withFactors ? in.readLong() : 0;
    steps.factors = steps.factored == 0 ? null : StepFactors.read(in);
    return steps;
  }
}
