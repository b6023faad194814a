package io.tensorhold.server.shard;

import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.store.ShardStore;
import java.lang.foreign.MemorySegment;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.function.LongPredicate;
import org.jspecify.annotations.Nullable;

/** The parameters that a shard knows, and which of them disk does not know yet. */
final class ParameterTable {
  private final Map<Long, ParameterRecord> known = new HashMap<>();
  private TreeMap<Long, byte @Nullable []> changed = new TreeMap<>(Long::compareUnsigned);

  void read(ShardStore store) {
    store.forEachParameter((id, bytes) -> known.put(id, ParameterRecord.of(bytes)));
  }

  @Nullable ParameterRecord get(long id) {
    return known.get(id);
  }

  Collection<ParameterRecord> all() {
    return known.values();
  }

  /** False if it is known already. */
  boolean register(ParameterRecord parameter) {
    if (known.putIfAbsent(parameter.id(), parameter) != null) {
      return false;
    }
    changed.put(parameter.id(), parameter.toBytes());
    return true;
  }

  /** Forgets parameters; gives those that were known. */
  List<ParameterRecord> drop(LongPredicate filter) {
    List<ParameterRecord> gone =
        known.values().stream().filter(parameter -> filter.test(parameter.id())).toList();
    for (ParameterRecord parameter : gone) {
      known.remove(parameter.id());
      changed.put(parameter.id(), null);
    }
    return gone;
  }

  /** What disk does not know, for a flush; a null value is a deletion. */
  NavigableMap<Long, byte @Nullable []> takeChanges() {
    TreeMap<Long, byte @Nullable []> taken = changed;
    changed = new TreeMap<>(Long::compareUnsigned);
    return taken;
  }

  /** Takes back the changes of a flush that failed; what changed since is newer. */
  void restoreChanges(NavigableMap<Long, byte @Nullable []> failed) {
    TreeMap<Long, byte @Nullable []> newer = changed;
    changed = new TreeMap<>(Long::compareUnsigned);
    changed.putAll(failed);
    changed.putAll(newer);
  }

  /** Whether every part of a push fits a known parameter, and the payload all of them. */
  boolean fits(PushCommand push) {
    long offset = 0;
    for (int i = 0; i < push.parts().size(); i++) {
      PushCommand.Part part = push.parts().get(i);
      ParameterRecord parameter = known.get(part.parameter());
      if (parameter == null) {
        return false;
      }
      try {
        String name = "parameter " + part.parameter();
        PartCheck.check(name, parameter, push.operation(), part);
        PartCheck.checkFactors(name, parameter, push.operation(), push.factors(), i);
        if (part.payloadBytes() > push.payload().byteSize() - offset) {
          return false;
        }
        MemorySegment payload = push.payload().asSlice(offset, part.payloadBytes());
        PartCheck.checkPayload(name, parameter, part, payload);
      } catch (Refusal e) {
        return false;
      }
      offset += part.payloadBytes();
    }
    return offset == push.payload().byteSize();
  }
}
