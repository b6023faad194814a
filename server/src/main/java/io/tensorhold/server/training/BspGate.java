package io.tensorhold.server.training;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiFunction;

/**
 * Where the gradients of a bulk synchronous step wait for each other, on one shard.
 *
 * <p>The ranks of a step send the same blocks; when all have come, their gradients are added in the
 * order of the ranks, divided by their number, and go to the log as one push that carries the tags
 * of all. So the result does not depend on who came first, and a retry of any of them is known as
 * one. What waits here is memory of one leader in one term: when it loses the lead it refuses all,
 * and the workers send again to its successor.
 */
final class BspGate {
  private final long limitBytes;
  private final Kernels kernels;
  private final Map<Key, TreeMap<Integer, Contribution>> steps = new HashMap<>();
  private long bytes;

  /** One part of one step. */
  record Key(long term, long model, long step, int part) {}

  @SuppressWarnings("ArrayRecordComponent") // gradients, owned by the gate
  private record Contribution(PushCommand push, byte[] values, CompletableFuture<PushDone> done) {}

  BspGate(long limitBytes, Kernels kernels) {
    this.limitBytes = limitBytes;
    this.kernels = kernels;
  }

  /**
   * Adds a rank's gradients; the last rank sends the step on.
   *
   * @param send puts the averaged push into the shard's queue
   */
  CompletableFuture<PushDone> contribute(
      Key key,
      int workers,
      int rank,
      PushCommand push,
      Set<ParameterRecord> parameters,
      BiFunction<PushCommand, Set<ParameterRecord>, CompletableFuture<PushDone>> send) {
    if (rank < 0 || rank >= workers) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "rank of a model with %d workers: value=%d allowed=0..%d"
              .formatted(workers, Integer.toUnsignedLong(rank), workers - 1),
          "value",
          rank,
          "limit",
          workers - 1);
    }
    byte[] values = decode(push, parameters);
    Contribution mine = new Contribution(push, values, new CompletableFuture<>());
    TreeMap<Integer, Contribution> complete = null;
    synchronized (this) {
      TreeMap<Integer, Contribution> step = steps.computeIfAbsent(key, k -> new TreeMap<>());
      if (!step.isEmpty() && !sameBlocks(step.firstEntry().getValue().push, push)) {
        throw new Refusal(
            Reason.REQUEST_INVALID,
            "the ranks of step %d, part %d, sent different blocks".formatted(key.step, key.part),
            "step",
            key.step,
            "part",
            key.part);
      }
      Contribution former = step.put(rank, mine);
      if (former != null) {
        bytes -= former.values.length;
        former.done.completeExceptionally(
            new Refusal(Reason.UNAVAILABLE, "the push was sent again; this is the former one"));
      }
      if (bytes + values.length > limitBytes) {
        step.remove(rank);
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
      bytes += values.length;
      if (step.size() == workers) {
        complete = step;
        steps.remove(key);
        bytes -= (long) values.length * workers;
      }
    }
    if (complete != null) {
      release(complete, parameters, send);
    }
    return mine.done;
  }

  private void release(
      SortedMap<Integer, Contribution> step,
      Set<ParameterRecord> parameters,
      BiFunction<PushCommand, Set<ParameterRecord>, CompletableFuture<PushDone>> send) {
    List<Tag> tags = new ArrayList<>();
    MemorySegment sum = null;
    int count = 0;
    for (Contribution contribution : step.values()) {
      tags.addAll(contribution.push.tags());
      MemorySegment values = MemorySegment.ofArray(contribution.values);
      if (sum == null) {
        sum = values;
        count = contribution.values.length / 4;
      } else {
        kernels.add(sum, 0, values, 0, count);
      }
    }
    kernels.scale(java.util.Objects.requireNonNull(sum), 0, 1f / step.size(), count);
    PushCommand first = step.get(step.firstKey()).push;
    List<Part> parts = new ArrayList<>();
    for (Part part : first.parts()) {
      int elements = elements(part, parameters);
      parts.add(new Part(part.parameter(), part.block(), Codec.F32, 4 * elements, part.runs()));
    }
    var _ =
        send.apply(new PushCommand(tags, first.operation(), parts, sum), parameters)
            .whenComplete(
                (done, failure) -> {
                  for (Contribution contribution : step.values()) {
                    if (failure != null) {
                      contribution.done.completeExceptionally(failure);
                    } else {
                      contribution.done.complete(done);
                    }
                  }
                });
  }

  private byte[] decode(PushCommand push, Set<ParameterRecord> parameters) {
    int total = 0;
    for (Part part : push.parts()) {
      total += elements(part, parameters);
    }
    byte[] values = new byte[4 * total];
    MemorySegment target = MemorySegment.ofArray(values);
    long from = 0;
    long to = 0;
    for (Part part : push.parts()) {
      int elements = elements(part, parameters);
      part.codec().decode(kernels, push.payload(), from, target, to, elements);
      from += part.payloadBytes();
      to += 4L * elements;
    }
    return values;
  }

  private static int elements(Part part, Set<ParameterRecord> parameters) {
    for (ParameterRecord parameter : parameters) {
      if (parameter.id() == part.parameter()) {
        int block = parameter.elementsIn(part.block());
        long elements = 0;
        for (int i = 1; i < part.runs().length; i += 2) {
          elements += part.runs()[i];
        }
        return part.runs().length == 0 ? block : (int) elements;
      }
    }
    throw new IllegalArgumentException("a part without its parameter: " + part);
  }

  private static boolean sameBlocks(PushCommand a, PushCommand b) {
    if (a.parts().size() != b.parts().size()) {
      return false;
    }
    for (int i = 0; i < a.parts().size(); i++) {
      Part one = a.parts().get(i);
      Part other = b.parts().get(i);
      if (one.parameter() != other.parameter()
          || one.block() != other.block()
          || !java.util.Arrays.equals(one.runs(), other.runs())) {
        return false;
      }
    }
    return true;
  }

  /** Refuses what waits under another term than the one this server leads in. */
  void drop(Leadership now, Refusal refusal) {
    List<Contribution> dropped = new ArrayList<>();
    synchronized (this) {
      Iterator<Map.Entry<Key, TreeMap<Integer, Contribution>>> all = steps.entrySet().iterator();
      while (all.hasNext()) {
        Map.Entry<Key, TreeMap<Integer, Contribution>> step = all.next();
        if (!now.leads() || step.getKey().term != now.term()) {
          all.remove();
          for (Contribution contribution : step.getValue().values()) {
            bytes -= contribution.values.length;
            dropped.add(contribution);
          }
        }
      }
    }
    for (Contribution contribution : dropped) {
      contribution.done.completeExceptionally(refusal);
    }
  }
}
