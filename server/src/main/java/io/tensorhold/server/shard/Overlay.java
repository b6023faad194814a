package io.tensorhold.server.shard;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.PushCommand.Part;
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
 * <p>A checkpoint writes the changed blocks whole to the log. A change of term drops the overlay:
 * the pushes in it never happened.
 */
public final class Overlay {
  private final Object lock;
  private final long limit;
  private final BlockUpdate update;
  private final OverlayPushes taken;
  private final BiFunction<BlockKey, ParameterRecord, Unit> copyOfBase;
  private final Map<BlockKey, Unit> units = new HashMap<>();
  private long term;
  private long bytes;
  private long pushes;

  /**
   * Empty.
   *
   * @param lock the machine, whose methods and these are atomic to each other
   * @param limit of bytes
   * @param taken which pushes the overlays have
   * @param copyOfBase a block as the log has it
   */
  Overlay(
      Object lock,
      long limit,
      BlockUpdate update,
      OverlayPushes taken,
      BiFunction<BlockKey, ParameterRecord, Unit> copyOfBase) {
    this.lock = lock;
    this.limit = limit;
    this.update = update;
    this.taken = taken;
    this.copyOfBase = copyOfBase;
  }

  @Nullable Unit get(BlockKey key) {
    return units.get(key);
  }

  /** Drops what is of any other term; leadership has changed. */
  void enter(long newTerm) {
    taken.enter(newTerm);
    if (newTerm != term) {
      clear();
      term = newTerm;
    }
  }

  /**
   * Applies a push outside the log.
   *
   * @param pushTerm the leader's term: what is of an earlier one is dropped first
   * @param model see {@link StepMark} for its id
   * @param mark the part of a worker's step that it is
   * @param known the parameters of its parts, which were checked
   */
  public Outcome push(
      long pushTerm,
      long model,
      PushCommand push,
      @Nullable StepMark mark,
      Map<Long, ParameterRecord> known) {
    synchronized (lock) {
      enter(pushTerm);
      Outcome objection = taken.objection(model, push.tags(), mark);
      if (objection != null) {
        return objection;
      }
      apply(push, known);
      taken.applied(model, push.tags(), mark);
      return Outcome.APPLIED;
    }
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
    bytes = 0;
  }
}
