package io.tensorhold.server.training;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.StepWait;
import io.tensorhold.proto.v1.StragglerPolicy;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import io.tensorhold.server.training.GatheredStep.Contribution;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
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
 * <p>A step that takes sums over all blocks stops here once more: its mean is measured, every rank
 * is answered with the sums, and the first that brings the factors made of them sends it on. Which
 * factors count is decided by one shard's log alone, that which the workers bring them to first;
 * here they are taken as they come, but for a step that this shard has made a part of: see decision
 * 0027. Measuring holds the gate's lock: the shard measures one part at a time anyhow.
 *
 * <p>A step stays here until the log has answered. What comes for it meanwhile waits for that
 * answer; then the shard's state says what becomes of it. The same is done with all of a step that
 * the log refused because one of its ranks had been taken over.
 */
final class BspGate {
  private static final Logger logger = LoggerFactory.getLogger(BspGate.class);

  private final GradientRoom room;
  private final Kernels kernels;
  private final StepLog log;
  private final Roster roster;
  private final LongSupplier nanos;
  private final TreeMap<StepKey, GatheredStep> steps = new TreeMap<>();

  BspGate(GradientRoom room, Kernels kernels, StepLog log, Roster roster, LongSupplier nanos) {
    this.room = room;
    this.kernels = kernels;
    this.log = log;
    this.roster = roster;
    this.nanos = nanos;
  }

  /**
   * Adds a rank's gradients, or the factors that it has brought; the last rank sends on. The
   * payload stays where it is, and as it was sent: its memory is held here.
   */
  CompletableFuture<PushDone> contribute(StepPush push) {
    CompletableFuture<PushDone> done = new CompletableFuture<>();
    if (push.withoutPayload()) {
      decide(push, done);
    } else {
      push.push().hold();
      admit(new Contribution(push, done));
    }
    return done;
  }

  /** Gives a contribution, and the hold of its payload, a place; or lets go of it. */
  private void admit(Contribution mine) {
    boolean placed = false;
    try {
      placed = place(mine);
    } finally {
      if (!placed) {
        mine.release();
      }
    }
  }

  /** Gives a contribution a place; false: it has its answer already. */
  private boolean place(Contribution mine) {
    StepKey key = StepKey.of(mine.push());
    Contribution former = null;
    boolean reopened = false;
    GatheredStep step;
    synchronized (this) {
      step = steps.get(key);
      if (step == null) {
        // Only now: a step that has left the gate is in the shard's state.
        Outcome objection = log.objection(mine.push().mark(), mine.push().push());
        if (objection != null) {
          answer(mine, objection);
          return false;
        }
        step = new GatheredStep(nanos.getAsLong());
      }
      room.take(mine.bytes());
      if (step.sent || (step.fixed && !step.arrived.containsKey(mine.push().rank()))) {
        step.late.add(mine);
        return true;
      }
      try {
        former = step.take(mine);
      } catch (Refusal e) {
        room.give(mine.bytes());
        throw e;
      }
      steps.put(key, step);
      if (former != null) {
        room.give(former.bytes());
        former.release();
      }
      if (step.fixed && mine.takesOver(former)) {
        remove(key, step);
        reopened = true;
      } else if (step.arrived.size() == mine.push().spec().getWorkers()) {
        step.fixed = true;
      }
    }
    mine.replace(former);
    if (reopened) {
      // What was measured can't be made any more: the log refuses the former session.
      step.all().forEach(this::again);
    } else {
      proceed(key, step, mine.push().factors());
    }
    return true;
  }

  /**
   * Whether an earlier step of the model waits: a later one can't be measured before it is made.
   */
  private boolean earlier(StepKey key) {
    StepKey first = steps.ceilingKey(new StepKey(key.term(), key.model(), 0, 0));
    return first != null && first.model() == key.model() && first.step() < key.step();
  }

  /** Goes on with the steps that waited for an earlier one. */
  private void proceedAll() {
    List<Map.Entry<StepKey, GatheredStep>> all;
    synchronized (this) {
      all = steps.entrySet().stream().filter(e -> e.getValue().awaitsTurn()).toList();
    }
    all.forEach(entry -> proceed(entry.getKey(), entry.getValue(), null));
  }

  /** A rank says a push again, without its payload, and brings the step's factors. */
  private void decide(StepPush push, CompletableFuture<PushDone> done) {
    StepKey key = StepKey.of(push);
    Contribution held;
    Contribution mine;
    GatheredStep step;
    synchronized (this) {
      step = steps.get(key);
      held = step == null ? null : step.arrived.get(push.rank());
      if (held == null || !held.saidAgainBy(push)) {
        mine = new Contribution(push, done);
        Outcome objection = log.objection(push.mark(), push.push());
        if (objection == null) {
          done.completeExceptionally(Refusals.unknownStep());
        } else {
          answer(mine, objection);
        }
        return;
      }
      mine = new Contribution(held.push().with(push.factors()), done);
      step.arrived.put(push.rank(), mine);
    }
    mine.replace(held);
    proceed(key, step, push.factors());
  }

  /**
   * Does what comes next of a step whose ranks are known: sends it to the log, or measures it for
   * those who wait for its sums.
   *
   * @param brought by the one who came last
   */
  private void proceed(StepKey key, GatheredStep step, @Nullable StepFactors brought) {
    List<Contribution> waiting = new ArrayList<>();
    StepFactors factors;
    StepSums sums;
    boolean ready;
    RuntimeException failure = null;
    synchronized (this) {
      if (!step.fixed || step.sent || steps.get(key) != step) {
        return;
      }
      StepPush any = step.any();
      if (any.needs().any() && earlier(key)) {
        return;
      }
      // What another part of the step was made with counts before anything that a rank says.
      StepFactors made = any.needs().any() ? log.factors(key.model(), key.step()) : null;
      factors = made != null ? made : step.factors();
      ready = any.suffice(factors);
      step.sent = ready;
      if (!ready) {
        try {
          measure(step, brought == null ? null : brought.gradientScale());
          waiting.addAll(step.arrived.values());
        } catch (RuntimeException e) {
          failure = e;
          remove(key, step);
          waiting.addAll(step.all());
        }
      }
      sums = step.sums;
    }
    if (ready) {
      send(key, step, factors);
    }
    for (Contribution contribution : waiting) {
      if (failure == null) {
        contribution.done().complete(new PushDone(0, key.term(), false, sums, null));
      } else {
        contribution.refuse(failure);
      }
    }
  }

  /** Measures a step, unless that was done under the same scale. */
  private void measure(GatheredStep step, @Nullable Float asked) {
    StepSums known = step.sums;
    float scale = asked != null ? asked : known != null ? known.gradientScale() : 1;
    if (known == null || known.gradientScale() != scale) {
      PushCommand mean = step.mean(kernels, step.mark(null));
      try {
        PushCommand scaled =
            mean.with(StepFactors.scale(scale).of(step.any().mark().model(), mean.parts()));
        step.sums = new StepSums(scale, log.measure(scaled, step.any().parameters()));
      } finally {
        mean.release();
      }
      step.since = nanos.getAsLong();
    }
  }

  private void send(StepKey key, GatheredStep step, @Nullable StepFactors factors) {
    CompletableFuture<PushDone> sent;
    try {
      StepMark mark = step.mark(factors);
      PushCommand mean = step.mean(kernels, mark);
      try {
        sent = log.append(mark, mean, step.any().parameters());
      } finally {
        mean.release();
      }
    } catch (RuntimeException e) {
      sent = CompletableFuture.failedFuture(e);
    }
    var _ =
        sent.whenComplete(
            (done, failure) ->
                settle(key, step, done == null ? null : done.with(factors), failure));
  }

  private void remove(StepKey key, GatheredStep step) {
    steps.remove(key, step);
    step.all().forEach(contribution -> room.give(contribution.bytes()));
  }

  /** The log has answered: what waited for it gets its own answer, or its place again. */
  private void settle(
      StepKey key, GatheredStep step, @Nullable PushDone done, @Nullable Throwable failure) {
    synchronized (this) {
      remove(key, step);
    }
    boolean applied = done != null && !done.duplicate();
    for (Contribution contribution : step.arrived.values()) {
      if (applied) {
        contribution.done().complete(done);
        contribution.release();
      } else if (failure == null || Refusals.ofOneRank(failure)) {
        again(contribution);
      } else {
        contribution.refuse(failure);
      }
    }
    step.late.forEach(this::again);
    proceedAll();
  }

  private void again(Contribution contribution) {
    try {
      admit(contribution);
    } catch (RuntimeException e) {
      contribution.done().completeExceptionally(e);
    }
  }

  private void answer(Contribution contribution, Outcome objection) {
    Refusal refusal = Refusals.of(objection);
    if (refusal != null) {
      contribution.done().completeExceptionally(refusal);
    } else {
      StepMark mark = contribution.push().mark();
      PushDone done = new PushDone(0, contribution.push().term(), true);
      contribution.done().complete(done.with(log.factors(mark.model(), mark.step())));
    }
  }

  /** Refuses what waits under another term than the one this server leads in. */
  void drop(Leadership now, Refusal refusal) {
    removeIf(key -> !now.leads() || key.term() != now.term(), refusal);
  }

  private void removeIf(Predicate<StepKey> filter, Refusal refusal) {
    List<Contribution> removed = new ArrayList<>();
    synchronized (this) {
      Iterator<Map.Entry<StepKey, GatheredStep>> all = steps.entrySet().iterator();
      while (all.hasNext()) {
        Map.Entry<StepKey, GatheredStep> entry = all.next();
        if (!entry.getValue().sent && filter.test(entry.getKey())) {
          all.remove();
          removed.addAll(entry.getValue().all());
        }
      }
      removed.forEach(contribution -> room.give(contribution.bytes()));
    }
    removed.forEach(contribution -> contribution.refuse(refusal));
  }

  /** Does with steps whose ranks are late what their models say. */
  void sweep() {
    long now = nanos.getAsLong();
    List<Overdue> overdue = new ArrayList<>();
    List<Contribution> reopened = new ArrayList<>();
    synchronized (this) {
      for (Map.Entry<StepKey, GatheredStep> entry : List.copyOf(steps.entrySet())) {
        GatheredStep step = entry.getValue();
        if (step.sent || now - step.since < step.any().patience()) {
          continue;
        }
        if (step.fixed && !step.late.isEmpty()) {
          // Nobody brought the factors: the ranks that were in it may be dead, those here are not.
          remove(entry.getKey(), step);
          reopened.addAll(step.all());
        } else if (!step.fixed && !step.reported) {
          overdue.add(new Overdue(entry.getKey(), step, step.any(), step.missing()));
          step.reported = true;
          step.fixed = step.any().spec().getOnStraggler() == StragglerPolicy.PROCEED;
        }
      }
    }
    reopened.forEach(this::again);
    overdue.forEach(this::late);
    proceedAll();
  }

  private void late(Overdue overdue) {
    StepKey key = overdue.key();
    String what = overdue.lacks(roster);
    switch (overdue.any().spec().getOnStraggler()) {
      case PROCEED -> {
        logger.warn("{}: it is made without", what);
        proceed(key, overdue.step(), null);
      }
      case FAIL -> {
        logger.warn("{}: it fails", what);
        Refusal refusal =
            new Refusal(
                Reason.STEP_FAILED,
                what,
                "step",
                key.step(),
                "missing-ranks",
                overdue.missing().toString());
        removeIf(other -> other.equals(key), refusal);
      }
      default -> logger.warn("{}: it waits", what);
    }
  }

  /** What waits of a model now. */
  synchronized List<StepWait> waits(long model) {
    List<StepWait> waits = new ArrayList<>();
    steps.forEach(
        (key, step) -> {
          if (key.model() == model && !step.fixed) {
            waits.add(step.wait(key, nanos.getAsLong()));
          }
        });
    return waits;
  }
}
