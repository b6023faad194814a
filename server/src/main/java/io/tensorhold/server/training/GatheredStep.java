package io.tensorhold.server.training;

import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.StepWait;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * One part of a step at a {@link BspGate}: whose gradients have come, and how far it is.
 *
 * <p>Ranks arrive until the set of them is {@link #fixed}. A step that takes factors is then
 * measured, and waits until a rank brings them. Then it is {@link #sent} to the log.
 */
final class GatheredStep {
  /** One rank's push, whose payload is held, and its answer. */
  record Contribution(StepPush push, CompletableFuture<PushDone> done) {
    long bytes() {
      return push.push().payload().byteSize();
    }

    /** Lets go of the payload: this is not at the gate any more. */
    void release() {
      push.push().release();
    }

    /** Answers it, and lets go. */
    void refuse(Throwable why) {
      done.completeExceptionally(why);
      release();
    }

    boolean takesOver(@Nullable Contribution former) {
      return former != null && former.push.tag().session() != push.tag().session();
    }

    /** Answers the push in whose place this one comes, if there was one and it has no answer. */
    void replace(@Nullable Contribution former) {
      if (former != null) {
        former.done.completeExceptionally(
            takesOver(former)
                ? Refusals.fenced()
                : new Refusal(
                    Reason.UNAVAILABLE, "the push was sent again; this is the former one"));
      }
    }

    /** Whether another push is this one, said again. */
    boolean saidAgainBy(StepPush other) {
      return push.tag().session() == other.tag().session()
          && push.mark().pieces().equals(other.mark().pieces());
    }
  }

  final TreeMap<Integer, Contribution> arrived = new TreeMap<>();
  final List<Contribution> late = new ArrayList<>();

  /** When it began to wait for what it waits for. */
  long since;

  boolean fixed;
  boolean sent;
  boolean reported;

  /** Of the mean gradient of the ranks; null: not measured. */
  @Nullable StepSums sums;

  GatheredStep(long since) {
    this.since = since;
  }

  /** Whether its ranks are known, and nothing was done with them. */
  boolean awaitsTurn() {
    return fixed && !sent && sums == null;
  }

  StepPush any() {
    return arrived.firstEntry().getValue().push;
  }

  List<Contribution> all() {
    List<Contribution> all = new ArrayList<>(arrived.values());
    all.addAll(late);
    return all;
  }

  /**
   * Puts a rank's push in its place; gives the one that it replaces, if any.
   *
   * @throws Refusal if it can't be what this rank adds to this step
   */
  @Nullable Contribution take(Contribution mine) {
    StepPush push = mine.push;
    Contribution former = arrived.get(push.rank());
    if (former != null) {
      long held = former.push.tag().session();
      int order = Long.compareUnsigned(push.tag().session(), held);
      if (order < 0 || (order == 0 && !former.saidAgainBy(push))) {
        throw order < 0 ? Refusals.fenced() : Refusals.conflict();
      }
    }
    if (!arrived.isEmpty()
        && (any().mark().parts() != push.mark().parts()
            || !Gradients.sameBlocks(any().push(), push.push()))) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "the ranks of step %d, part %d, sent different blocks or numbers of parts"
              .formatted(push.mark().step(), push.mark().part()),
          "step",
          push.mark().step(),
          "part",
          push.mark().part());
    }
    arrived.put(push.rank(), mine);
    return former;
  }

  Set<Integer> missing() {
    Set<Integer> missing = new TreeSet<>();
    for (int rank = 0; rank < any().spec().getWorkers(); rank++) {
      if (!arrived.containsKey(rank)) {
        missing.add(rank);
      }
    }
    return missing;
  }

  /** For whom it waits. */
  StepWait wait(StepKey key, long nanos) {
    return StepWait.newBuilder()
        .setStep(key.step())
        .setPart(key.part())
        .addAllWaiting(arrived.keySet())
        .addAllMissing(missing())
        .setAgeMs((nanos - since) / 1_000_000)
        .build();
  }

  /** The factors that a rank has brought: all that the step takes, or null. */
  @Nullable StepFactors factors() {
    for (Contribution contribution : arrived.values()) {
      StepFactors brought = contribution.push.factors();
      if (brought != null && contribution.push.suffice(brought)) {
        return brought;
      }
    }
    return null;
  }

  /** What the log is told of the ranks that have come. */
  StepMark mark(@Nullable StepFactors factors) {
    List<StepMark.Piece> pieces = new ArrayList<>();
    arrived.values().forEach(one -> pieces.addAll(one.push.mark().pieces()));
    StepMark mark = any().mark();
    return new StepMark(
        mark.model(), mark.step(), mark.part(), mark.parts(), true, pieces, factors);
  }

  /** The mean of their gradients, with the tags of all; the caller releases its memory. */
  PushCommand mean(Kernels kernels, StepMark mark) {
    List<PushCommand> pushes = arrived.values().stream().map(one -> one.push.push()).toList();
    return Gradients.mean(kernels, mark, pushes, any().parameters());
  }
}
