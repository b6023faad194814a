package io.tensorhold.server.shard;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.BlockLayout;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.function.BiFunction;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Blocks of CHECKPOINTED models as the pushes since the last checkpoint left them: memory of one
 * leader in one term, outside the replicated state.
 *
 * <p>A checkpoint writes the changed blocks whole to the log, and how far the ranks had come with
 * them. A change of term drops the overlay, its dedupe and its steps included: the pushes in it
 * never happened, and the ranks are where the last checkpoint found them.
 */
public final class Overlay {
  private final Object lock;
  private final long limit;
  private final BlockUpdate update;
  private final StepTable checkpointed;
  private final BiFunction<BlockKey, ParameterRecord, Unit> copyOfBase;
  private final Map<BlockKey, Unit> units = new HashMap<>();
  private final Sessions sessions = new Sessions();
  private final StepTable steps = new StepTable();
  private long term;
  private long bytes;
  private long pushes;

  /**
   * Empty.
   *
   * @param lock the machine, whose methods and these are atomic to each other
   * @param limit of bytes
   * @param checkpointed how far ranks had come at the last checkpoints
   * @param copyOfBase a block as the log has it
   */
  Overlay(
      Object lock,
      long limit,
      BlockUpdate update,
      StepTable checkpointed,
      BiFunction<BlockKey, ParameterRecord, Unit> copyOfBase) {
    this.lock = lock;
    this.limit = limit;
    this.update = update;
    this.checkpointed = checkpointed;
    this.copyOfBase = copyOfBase;
  }

  @Nullable Unit get(BlockKey key) {
    return units.get(key);
  }

  /** Drops what is of any other term; leadership has changed. */
  void enter(long newTerm) {
    if (newTerm != term) {
      clear();
      term = newTerm;
    }
  }

  /**
   * Applies a push outside the log.
   *
   * @param pushTerm the leader's term: what is of an earlier one is dropped first
   * @param mark the part of a worker's step that it is
   * @param known the parameters of its parts, which were checked
   */
  public Outcome push(
      long pushTerm, PushCommand push, @Nullable StepMark mark, Map<Long, ParameterRecord> known) {
    synchronized (lock) {
      enter(pushTerm);
      Outcome objection = objection(push, mark);
      if (objection != null) {
        return objection;
      }
      apply(push, known);
      for (Tag tag : push.tags()) {
        sessions.applied(tag.session(), tag.seq(), tag.ackedBelow(), pushes);
      }
      if (mark != null) {
        steps.applied(mark, mark.pieces().getFirst(), push.tags().getFirst().session());
      }
      return Outcome.APPLIED;
    }
  }

  private @Nullable Outcome objection(PushCommand push, @Nullable StepMark mark) {
    for (Tag tag : push.tags()) {
      Sessions.Verdict verdict = sessions.verdict(tag.session(), tag.seq());
      if (verdict != Sessions.Verdict.NEW) {
        return verdict == Sessions.Verdict.DUPLICATE ? Outcome.DUPLICATE : Outcome.WINDOW_FULL;
      }
    }
    if (mark == null) {
      return null;
    }
    if (!steps.knows(mark.model())) { // it goes on from the last checkpoint
      steps.put(mark.model(), checkpointed.copy(mark.model()));
    }
    return steps.objection(mark, mark.pieces().getFirst(), push.tags().getFirst().session());
  }

  private void apply(PushCommand push, Map<Long, ParameterRecord> known) {
    long growth = 0;
    for (Part part : push.parts()) {
      if (!units.containsKey(new BlockKey(part.parameter(), part.block()))) {
        growth += known.get(part.parameter()).blockBytes(part.block());
      }
    }
    if (bytes + growth > limit) {
      throw new Refusal(
          Reason.LIMIT,
          "the blocks changed since the last checkpoint take %d bytes, limit=%d: checkpoint the model, or give the server more memory"
              .formatted(bytes + growth, limit),
          "limit-name",
          "overlay",
          "value",
          bytes + growth,
          "limit",
          limit);
    }
    long offset = 0;
    for (int i = 0; i < push.parts().size(); i++) {
      Part part = push.parts().get(i);
      ParameterRecord parameter = known.get(part.parameter());
      BlockKey key = new BlockKey(part.parameter(), part.block());
      if (push.received() != null && adopt(key, push.received())) {
        break;
      }
      Unit unit = writable(key, parameter);
      update.apply(unit.memory(), parameter, push, i, offset, pushes);
      offset += part.payloadBytes();
    }
    pushes++;
  }

  /** The steps of models that were pushed to since the term began. */
  StepTable steps() {
    return steps;
  }

  /** Puts a block in the place of the one before it; false: there is none yet. */
  private boolean adopt(BlockKey key, Unit received) {
    Unit before = units.get(key);
    if (before == null) {
      return false;
    }
    BlockLayout.setLogIndex(received.memory(), BlockLayout.logIndex(before.memory()));
    BlockLayout.setStep(received.memory(), BlockLayout.step(before.memory()));
    units.put(key, received.hold());
    before.release();
    return true;
  }

  private Unit writable(BlockKey key, ParameterRecord parameter) {
    Unit unit = units.get(key);
    if (unit == null) {
      unit = copyOfBase.apply(key, parameter);
      bytes += unit.bytes();
      units.put(key, unit);
    } else if (unit.shared()) {
      Unit copy = unit.copy();
      units.put(key, copy);
      unit.release();
      unit = copy;
    }
    return unit;
  }

  /** Blocks of the parameters from first to last, held for the caller, in order. */
  public NavigableMap<BlockKey, Unit> blocks(long askedTerm, long first, long last) {
    synchronized (lock) {
      enter(askedTerm);
      TreeMap<BlockKey, Unit> held = new TreeMap<>();
      units.forEach(
          (key, unit) -> {
            if (DroppedParameters.between(first, key.parameter(), last)) {
              held.put(key, unit.hold());
            }
          });
      return held;
    }
  }

  /** How far it has counted the ranks of a model, for the log; null: it has not. */
  public byte @Nullable [] steps(long model) {
    synchronized (lock) {
      return steps.knows(model) ? steps.copy(model).toBytes() : null;
    }
  }

  /** Forgets blocks that the log holds now, unless a push has changed them since. */
  public void logged(Map<BlockKey, Unit> logged) {
    synchronized (lock) {
      logged.forEach(
          (key, unit) -> {
            if (units.get(key) == unit) {
              units.remove(key);
              bytes -= unit.bytes();
              unit.release();
            }
          });
    }
  }

  void removeIf(Predicate<BlockKey> filter) {
    Iterator<Map.Entry<BlockKey, Unit>> all = units.entrySet().iterator();
    while (all.hasNext()) {
      Map.Entry<BlockKey, Unit> entry = all.next();
      if (filter.test(entry.getKey())) {
        all.remove();
        bytes -= entry.getValue().bytes();
        entry.getValue().release();
      }
    }
  }

  long bytes() {
    return bytes;
  }

  void clear() {
    units.values().forEach(Unit::release);
    units.clear();
    sessions.clear();
    steps.clear();
    bytes = 0;
  }
}
