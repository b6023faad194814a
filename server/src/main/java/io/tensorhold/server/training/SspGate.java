package io.tensorhold.server.training;

import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.StepWait;
import io.tensorhold.proto.v1.StragglerPolicy;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.RankStep;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.LongSupplier;
import java.util.function.Predicate;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What keeps the workers of a stale synchronous model together, on one shard.
 *
 * <p>A push of step t is applied at once; it is acknowledged when every other rank that counts has
 * made step t − s here. So nobody begins step t + 1 before, and what it pulls then lacks at most
 * the last s steps of anybody (Ho et al., "More effective distributed ML via a stale synchronous
 * parallel parameter server", 2013). A worker that does not wait for its acknowledgement and would
 * run ahead of the bound is refused (STALE).
 *
 * <p>The clocks are the step counters of the shard's replicated state. What waits here is only
 * answers, of one leader in one term: after a change of leader the workers send again, are known as
 * duplicates, and wait again. The slowest rank is never held back, so that there is always one that
 * goes on.
 */
final class SspGate {
  private static final Logger logger = LoggerFactory.getLogger(SspGate.class);

  private final StepLog log;
  private final Roster roster;
  private final LongSupplier nanos;
  private final List<Held> held = new ArrayList<>();

  /** Steps of each session that are not answered yet, and how many pushes of each. */
  private final Map<Long, TreeMap<Long, Integer>> unanswered = new HashMap<>();

  /** An answer that waits. */
  private static final class Held {
    final StepPush push;
    final PushDone done;
    final CompletableFuture<PushDone> answer = new CompletableFuture<>();
    final long since;
    boolean reported;

    Held(StepPush push, PushDone done, long since) {
      this.push = push;
      this.done = done;
      this.since = since;
    }
  }

  private final LongAdder waited = new LongAdder();

  SspGate(StepLog log, Roster roster, LongSupplier nanos) {
    this.log = log;
    this.roster = roster;
    this.nanos = nanos;
  }

  /**
   * Pushes a part of a step; ends when the worker may go on.
   *
   * @throws Refusal STALE if an earlier step of the rank is still held back, and this one would
   *     pass the bound
   */
  CompletableFuture<PushDone> push(StepPush push) {
    enter(push);
    CompletableFuture<PushDone> answer;
    try {
      answer =
          log.append(push.mark(), push.push(), push.parameters()).thenCompose(d -> hold(push, d));
    } catch (RuntimeException e) {
      leave(push);
      throw e;
    }
    return answer.whenComplete((done, failure) -> leave(push));
  }

  private synchronized void enter(StepPush push) {
    TreeMap<Long, Integer> steps =
        unanswered.computeIfAbsent(push.tag().session(), session -> new TreeMap<>());
    long step = push.mark().step();
    boolean waited = steps.isEmpty() || steps.firstKey() >= step;
    if (!waited && !behind(push, step - 1).isEmpty()) {
      throw new Refusal(
          Reason.STALE,
          "rank %d pushed step %d before step %d was acknowledged, and is more than %d steps ahead of %s: wait for the acknowledgement"
              .formatted(
                  push.rank(),
                  step,
                  steps.firstKey(),
                  push.spec().getStaleness(),
                  roster.describe(push.modelId(), behind(push, step - 1))),
          "step",
          step,
          "limit",
          push.spec().getStaleness());
    }
    steps.merge(step, 1, Integer::sum);
  }

  private synchronized void leave(StepPush push) {
    TreeMap<Long, Integer> steps = unanswered.get(push.tag().session());
    if (steps != null) {
      steps.computeIfPresent(push.mark().step(), (step, n) -> n == 1 ? null : n - 1);
      if (steps.isEmpty()) {
        unanswered.remove(push.tag().session());
      }
    }
  }

  /**
   * Ends when a worker that has done a step may go on: so does a worker that was started again,
   * whose former self has done it.
   */
  CompletableFuture<PushDone> hold(StepPush push, PushDone done) {
    Held mine = new Held(push, done, nanos.getAsLong());
    synchronized (this) {
      held.add(mine);
    }
    release(push.modelId());
    return mine.answer.whenComplete((may, refused) -> waited.add(nanos.getAsLong() - mine.since));
  }

  /** Nanoseconds that pushes were held back since the start, all together. */
  long waitedNanos() {
    return waited.sum();
  }

  /** Lets go of what need not wait any longer. */
  void release(long modelId) {
    List<Held> free = removeIf(h -> h.push.modelId() == modelId && mayGo(h));
    free.forEach(one -> one.answer.complete(one.done));
  }

  private boolean mayGo(Held one) {
    return behind(one.push, one.push.mark().step()).isEmpty();
  }

  private synchronized List<Held> removeIf(Predicate<Held> filter) {
    List<Held> removed = new ArrayList<>();
    Iterator<Held> all = held.iterator();
    while (all.hasNext()) {
      Held one = all.next();
      if (filter.test(one)) {
        all.remove();
        removed.add(one);
      }
    }
    return removed;
  }

  /** The other ranks that are more than s behind a rank that has made {@code step}. */
  private Set<Integer> behind(StepPush push, long step) {
    Map<Integer, RankStep> ranks = log.ranks(push.mark().model());
    Set<Integer> behind = counted(push, ranks);
    behind.remove(push.rank());
    behind.removeIf(rank -> step - clock(ranks.get(rank)) <= push.spec().getStaleness());
    return behind;
  }

  private static long clock(@org.jspecify.annotations.Nullable RankStep step) {
    return step == null ? 0 : step.clock();
  }

  /** The ranks that others wait for: all of the model's, or the live ones that have begun here. */
  private Set<Integer> counted(StepPush push, Map<Integer, RankStep> begun) {
    Set<Integer> counted = new TreeSet<>();
    if (liveOnly(push.spec())) {
      counted.addAll(roster.of(push.modelId()).keySet());
      counted.retainAll(begun.keySet());
    } else {
      for (int rank = 0; rank < push.spec().getWorkers(); rank++) {
        counted.add(rank);
      }
    }
    return counted;
  }

  /** Whether ranks without a live session are not waited for. */
  static boolean liveOnly(ModelSpec spec) {
    return spec.getWorkers() == 0 || spec.getOnStraggler() == StragglerPolicy.PROCEED;
  }

  /** Refuses what waits under another term than the one this server leads in. */
  void drop(Leadership now, Refusal refusal) {
    removeIf(one -> !now.leads() || one.push.term() != now.term())
        .forEach(one -> one.answer.completeExceptionally(refusal));
  }

  /** Looks again at who is live, and says who waits for long. */
  void sweep() {
    List<Held> free = removeIf(this::mayGo);
    free.forEach(one -> one.answer.complete(one.done));
    List<Held> overdue = new ArrayList<>();
    long now = nanos.getAsLong();
    synchronized (this) {
      for (Held one : held) {
        if (!one.reported && now - one.since >= one.push.patience()) {
          one.reported = true;
          overdue.add(one);
        }
      }
    }
    for (Held one : overdue) {
      StepPush push = one.push;
      logger.warn(
          "rank {} of model \"{}\" waits since {} ms at step {} for {}",
          push.rank(),
          push.spec().getName(),
          push.patience() / 1_000_000,
          push.mark().step(),
          roster.describe(push.modelId(), behind(push, push.mark().step())));
    }
  }

  /** What waits of a model now. */
  synchronized List<StepWait> waits(long model) {
    List<StepWait> waits = new ArrayList<>();
    for (Held one : held) {
      if (one.push.mark().model() == model) {
        waits.add(
            StepWait.newBuilder()
                .setStep(one.push.mark().step())
                .setPart(one.push.mark().part())
                .addWaiting(one.push.rank())
                .addAllMissing(behind(one.push, one.push.mark().step()))
                .setAgeMs((nanos.getAsLong() - one.since) / 1_000_000)
                .build());
      }
    }
    return waits;
  }
}
