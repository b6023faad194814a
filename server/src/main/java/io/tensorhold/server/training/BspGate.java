package io.tensorhold.server.training;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.StepWait;
import io.tensorhold.proto.v1.StragglerPolicy;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.StepMark;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.LongSupplier;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Where the gradients of a bulk synchronous step wait for each other, on one shard.
 *
 * <p>The ranks of a step send the same blocks; when all have come, their gradients are added in the
 * order of the ranks, divided by their number, and go to the log as one push that carries the tags
 * of all. So the result does not depend on who came first. Ranks are counted, not requests: a rank
 * that sends again takes its own place.
 *
 * <p>When a rank does not come in time, the model's policy decides by this leader's clock. What it
 * decides enters the log as the set of ranks in the push; nothing else does, so every replica and
 * every retry sees the same. What waits here is memory of one leader in one term: when it loses the
 * lead it refuses all, and the workers send again to its successor.
 *
 * <p>A step stays here until the log has answered. What comes for it meanwhile waits for that
 * answer; then the shard's state says what becomes of it. The same is done with all of a step that
 * the log refused because one of its ranks had been taken over.
 */
final class BspGate {
  private static final Logger logger = LoggerFactory.getLogger(BspGate.class);

  private final long limitBytes;
  private final Kernels kernels;
  private final StepLog log;
  private final Roster roster;
  private final LongSupplier nanos;
  private final Map<Key, Step> steps = new TreeMap<>();
  private long bytes;

  private record Key(long term, long model, long step, int part) implements Comparable<Key> {
    @Override
    public int compareTo(Key other) {
      int order = Long.compare(term, other.term);
      order = order != 0 ? order : Long.compareUnsigned(model, other.model);
      order = order != 0 ? order : Long.compare(step, other.step);
      return order != 0 ? order : Integer.compare(part, other.part);
    }
  }

  /** One rank's push, decoded, and its answer. */
  private record Contribution(StepPush push, CompletableFuture<PushDone> done) {
    long bytes() {
      return push.push().payload().byteSize();
    }
  }

  private static final class Step {
    final TreeMap<Integer, Contribution> arrived = new TreeMap<>();
    final List<Contribution> late = new ArrayList<>();
    final long since;
    boolean sent;
    boolean reported;

    Step(long since) {
      this.since = since;
    }

    StepPush any() {
      return arrived.firstEntry().getValue().push;
    }
  }

  /** A step whose missing ranks are late. */
  private record Overdue(Key key, Step step, StepPush any, Set<Integer> missing) {}

  BspGate(long limitBytes, Kernels kernels, StepLog log, Roster roster, LongSupplier nanos) {
    this.limitBytes = limitBytes;
    this.kernels = kernels;
    this.log = log;
    this.roster = roster;
    this.nanos = nanos;
  }

  /** Adds a rank's gradients; the last rank sends the step on. */
  CompletableFuture<PushDone> contribute(StepPush push) {
    PushCommand own = Gradients.decoded(kernels, push.push(), push.parameters());
    Contribution mine = new Contribution(push.with(own), new CompletableFuture<>());
    place(mine);
    return mine.done;
  }

  private void place(Contribution mine) {
    StepMark mark = mine.push.mark();
    Key key = new Key(mine.push.term(), mark.model(), mark.step(), mark.part());
    Contribution former = null;
    boolean whole = false;
    Step step;
    synchronized (this) {
      step = steps.get(key);
      if (step == null) {
        // Only now: a step that has left the gate is in the shard's state.
        Outcome objection = log.objection(mark, mine.push.push());
        if (objection != null) {
          answer(mine, objection);
          return;
        }
        step = new Step(nanos.getAsLong());
      }
      reserve(mine);
      if (step.sent) {
        step.late.add(mine);
        return;
      }
      try {
        former = take(step, mine);
      } catch (Refusal e) {
        bytes -= mine.bytes();
        throw e;
      }
      steps.put(key, step);
      whole = step.arrived.size() == mine.push.spec().getWorkers();
      step.sent = whole;
    }
    if (former != null) {
      boolean takenOver = former.push.tag().session() != mine.push.tag().session();
      former.done.completeExceptionally(
          takenOver
              ? Refusals.fenced()
              : new Refusal(Reason.UNAVAILABLE, "the push was sent again; this is the former one"));
    }
    if (whole) {
      send(key, step);
    }
  }

  /** Puts a rank's push in its place; gives the one that it replaces, if any. */
  private @Nullable Contribution take(Step step, Contribution mine) {
    StepPush push = mine.push;
    Contribution former = step.arrived.get(push.rank());
    if (former != null) {
      long held = former.push.tag().session();
      int order = Long.compareUnsigned(push.tag().session(), held);
      boolean sameBytes =
          former.push.mark().pieces().getFirst().equals(push.mark().pieces().getFirst());
      if (order < 0 || (order == 0 && !sameBytes)) {
        throw order < 0 ? Refusals.fenced() : Refusals.conflict();
      }
    }
    if (!step.arrived.isEmpty()
        && (step.any().mark().parts() != push.mark().parts()
            || !Gradients.sameBlocks(step.any().push(), push.push()))) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "the ranks of step %d, part %d, sent different blocks or numbers of parts"
              .formatted(push.mark().step(), push.mark().part()),
          "step",
          push.mark().step(),
          "part",
          push.mark().part());
    }
    step.arrived.put(push.rank(), mine);
    if (former != null) {
      bytes -= former.bytes();
    }
    return former;
  }

  private void reserve(Contribution mine) {
    if (bytes + mine.bytes() > limitBytes) {
      throw new Refusal(
          Reason.LIMIT,
          "gradients that wait for other ranks take %d bytes, limit=%d"
              .formatted(bytes, limitBytes),
          "limit-name",
          "bsp-buffer",
          "value",
          bytes,
          "limit",
          limitBytes);
    }
    bytes += mine.bytes();
  }

  private void send(Key key, Step step) {
    List<StepMark.Piece> pieces = new ArrayList<>();
    List<PushCommand> pushes = new ArrayList<>();
    for (Contribution contribution : step.arrived.values()) {
      pieces.addAll(contribution.push.mark().pieces());
      pushes.add(contribution.push.push());
    }
    StepPush any = step.any();
    StepMark mark = any.mark();
    StepMark all = new StepMark(mark.model(), mark.step(), mark.part(), mark.parts(), true, pieces);
    CompletableFuture<PushDone> sent;
    try {
      sent = log.append(all, Gradients.mean(kernels, pushes), any.parameters());
    } catch (RuntimeException e) {
      sent = CompletableFuture.failedFuture(e);
    }
    var _ = sent.whenComplete((done, failure) -> settle(key, step, done, failure));
  }

  /** The log has answered: what waited for it gets its own answer, or its place again. */
  private void settle(Key key, Step step, @Nullable PushDone done, @Nullable Throwable failure) {
    synchronized (this) {
      steps.remove(key, step);
      step.arrived.values().forEach(contribution -> bytes -= contribution.bytes());
      step.late.forEach(contribution -> bytes -= contribution.bytes());
    }
    boolean applied = done != null && !done.duplicate();
    for (Contribution contribution : step.arrived.values()) {
      if (applied) {
        contribution.done.complete(done);
      } else if (failure == null || ofOneRank(failure)) {
        again(contribution);
      } else {
        contribution.done.completeExceptionally(failure);
      }
    }
    step.late.forEach(this::again);
  }

  /** Whether the log refused a step for one of its ranks, which says nothing of the others. */
  private static boolean ofOneRank(Throwable failure) {
    Throwable cause = failure instanceof CompletionException ? failure.getCause() : failure;
    return cause instanceof Refusal refusal
        && switch (refusal.reason()) {
          case SESSION_EXPIRED, STEP_CLOSED, STEP_CONFLICT, REQUEST_INVALID -> true;
          default -> false;
        };
  }

  private void again(Contribution contribution) {
    try {
      place(contribution);
    } catch (RuntimeException e) {
      contribution.done.completeExceptionally(e);
    }
  }

  private static void answer(Contribution contribution, Outcome objection) {
    Refusal refusal = Refusals.of(objection);
    if (refusal != null) {
      contribution.done.completeExceptionally(refusal);
    } else {
      contribution.done.complete(new PushDone(0, contribution.push.term(), true));
    }
  }

  /** Refuses what waits under another term than the one this server leads in. */
  void drop(Leadership now, Refusal refusal) {
    refuse(removeIf(key -> !now.leads() || key.term != now.term()), refusal);
  }

  private List<Contribution> removeIf(Predicate<Key> filter) {
    List<Contribution> removed = new ArrayList<>();
    synchronized (this) {
      Iterator<Map.Entry<Key, Step>> all = steps.entrySet().iterator();
      while (all.hasNext()) {
        Map.Entry<Key, Step> entry = all.next();
        if (!entry.getValue().sent && filter.test(entry.getKey())) {
          all.remove();
          removed.addAll(entry.getValue().arrived.values());
        }
      }
      removed.forEach(contribution -> bytes -= contribution.bytes());
    }
    return removed;
  }

  private static void refuse(Collection<Contribution> contributions, Refusal refusal) {
    contributions.forEach(one -> one.done.completeExceptionally(refusal));
  }

  /** Does with steps whose ranks are late what their models say. */
  void sweep() {
    long now = nanos.getAsLong();
    List<Overdue> overdue = new ArrayList<>();
    synchronized (this) {
      for (Map.Entry<Key, Step> entry : steps.entrySet()) {
        Step step = entry.getValue();
        if (!step.sent && !step.reported && now - step.since >= step.any().patience()) {
          overdue.add(new Overdue(entry.getKey(), step, step.any(), missing(step)));
          step.reported = true;
          step.sent = step.any().spec().getOnStraggler() == StragglerPolicy.PROCEED;
        }
      }
    }
    overdue.forEach(this::late);
  }

  private void late(Overdue overdue) {
    Key key = overdue.key;
    StepPush any = overdue.any;
    Set<Integer> missing = overdue.missing;
    String what =
        "step %d of model \"%s\" (part %d) lacks %s after %d ms"
            .formatted(
                key.step,
                any.spec().getName(),
                key.part,
                roster.describe(any.modelId(), missing),
                any.patience() / 1_000_000);
    switch (any.spec().getOnStraggler()) {
      case PROCEED -> {
        logger.warn("{}: it is made without", what);
        send(key, overdue.step);
      }
      case FAIL -> {
        logger.warn("{}: it fails", what);
        Refusal refusal =
            new Refusal(
                Reason.STEP_FAILED, what, "step", key.step, "missing-ranks", missing.toString());
        refuse(removeIf(other -> other.equals(key)), refusal);
      }
      default -> logger.warn("{}: it waits", what);
    }
  }

  private static Set<Integer> missing(Step step) {
    Set<Integer> missing = new TreeSet<>();
    for (int rank = 0; rank < step.any().spec().getWorkers(); rank++) {
      if (!step.arrived.containsKey(rank)) {
        missing.add(rank);
      }
    }
    return missing;
  }

  /** What waits of a model now. */
  synchronized List<StepWait> waits(long model) {
    List<StepWait> waits = new ArrayList<>();
    steps.forEach(
        (key, step) -> {
          if (key.model == model && !step.sent) {
            waits.add(
                StepWait.newBuilder()
                    .setStep(key.step)
                    .setPart(key.part)
                    .addAllWaiting(step.arrived.keySet())
                    .addAllMissing(missing(step))
                    .setAgeMs((nanos.getAsLong() - step.since) / 1_000_000)
                    .build());
          }
        });
    return waits;
  }
}
