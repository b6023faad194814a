package io.tensorhold.server.shard;

import io.tensorhold.server.base.Limits;
import io.tensorhold.server.shard.PushCommand.Tag;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Which pushes to CHECKPOINTED models a leader has applied beside the log, to blocks and to rows,
 * and how far the ranks have come with them: what {@link Sessions} and {@link StepTable} are for
 * the log.
 *
 * <p>A checkpoint logs both, behind the blocks and rows of the same moment. A change of term drops
 * what came since: those pushes never happened, so that they may come again, and the ranks are
 * where the last checkpoint found them. A session's numbers are kept for each model by itself,
 * because a checkpoint of one says nothing of the others.
 */
public final class OverlayPushes {
  private final Object lock;
  private final ShardState logged;
  private final TreeMap<Long, Sessions> models = new TreeMap<>(Long::compareUnsigned);
  private final StepTable steps = new StepTable();
  private long term;
  private long pushes;

  /**
   * None.
   *
   * @param lock the machine: public methods take it, the others run under it
   * @param logged what the log says of pushes and ranks
   */
  OverlayPushes(Object lock, ShardState logged) {
    this.lock = lock;
    this.logged = logged;
  }

  /** Drops what is of any other term; leadership has changed. */
  void enter(long newTerm) {
    if (newTerm != term) {
      models.clear();
      steps.clear();
      term = newTerm;
    }
  }

  /** What stands against a push, whole; null: nothing. */
  @Nullable Outcome objection(long model, List<Tag> tags, @Nullable StepMark mark) {
    Sessions sessions = models.get(model);
    for (Tag tag : tags) {
      if (sessions != null) {
        Sessions.Verdict verdict = sessions.verdict(tag.session(), tag.seq());
        if (verdict.objection != null) {
          return verdict.objection;
        }
      }
      Sessions.Verdict checkpointed = logged.sessions.verdict(tag.session(), tag.seq());
      if (checkpointed.objection != null) {
        return checkpointed.objection;
      }
    }
    if (mark == null) {
      return null;
    }
    if (!steps.knows(model)) { // it goes on from the last checkpoint
      steps.put(model, logged.steps.copy(model));
    }
    return steps.objection(mark, mark.pieces().getFirst(), tags.getFirst().session());
  }

  /** Counts a push that nothing stood against. */
  void applied(long model, List<Tag> tags, @Nullable StepMark mark) {
    pushes++;
    Sessions sessions = models.computeIfAbsent(model, id -> new Sessions());
    for (Tag tag : tags) {
      sessions.applied(tag.session(), tag.seq(), tag.ackedBelow(), pushes);
    }
    if (mark != null) {
      steps.applied(mark, mark.pieces().getFirst(), tags.getFirst().session());
    }
  }

  void claim(Entry.Command.Claim claim) {
    if (steps.knows(claim.model())) {
      steps.claim(claim, logged.dropped);
    }
  }

  /** How far the ranks of a model have come, here or, if this has counted none, in the log. */
  Map<Integer, RankStep> ranks(long model) {
    return (steps.knows(model) ? steps : logged.steps).ranks(model);
  }

  /** Forgets models. */
  void drop(long first, long last) {
    steps.drop(first, last);
    models.keySet().removeIf(model -> DroppedParameters.between(first, model, last));
  }

  /**
   * The entries that log what it knows of a model at a checkpoint, in order: the steps of its ranks
   * if there are any, and the pushes of its sessions.
   */
  public List<byte[]> checkpoint(long model) {
    synchronized (lock) {
      List<byte[]> entries = new ArrayList<>();
      if (steps.knows(model)) {
        entries.add(Entry.steps(model, steps.copy(model).toBytes()));
      }
      List<AppliedPushes> together = new ArrayList<>();
      int bytes = 0;
      for (AppliedPushes ofSession : models.getOrDefault(model, new Sessions()).all()) {
        if (bytes > 0 && bytes + ofSession.bytes() > Limits.ENTRY_TARGET_BYTES) {
          entries.add(Entry.pushes(together));
          together.clear();
          bytes = 0;
        }
        together.add(ofSession);
        bytes += ofSession.bytes();
      }
      if (bytes > 0) {
        entries.add(Entry.pushes(together));
      }
      return entries;
    }
  }
}
