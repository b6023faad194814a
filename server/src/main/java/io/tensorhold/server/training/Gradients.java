package io.tensorhold.server.training;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.HeldMemory;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.StepMark;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Gradients of several ranks for the same blocks, as they were sent, and their mean. */
final class Gradients {
  /** Worked on at once, so that memory is passed once; every codec's group divides it. */
  private static final int CHUNK_ELEMENTS = 16 << 10;

  private final Kernels kernels;
  private final List<PushCommand> ofRanks;
  private final long[] read;

  private Gradients(Kernels kernels, List<PushCommand> ofRanks) {
    this.kernels = kernels;
    this.ofRanks = ofRanks;
    this.read = new long[ofRanks.size()];
  }

  /**
   * One push with the tags of all and the f32 mean of what they say: decoded, added in the order
   * given, then multiplied by 1/n. Its memory is held for the caller, with room for the head of the
   * log entry of the mark.
   *
   * @param parameters of the parts
   */
  static PushCommand mean(
      Kernels kernels, StepMark mark, List<PushCommand> ofRanks, Set<ParameterRecord> parameters) {
    PushCommand first = ofRanks.getFirst();
    List<PushCommand.Tag> tags = new ArrayList<>();
    ofRanks.forEach(push -> tags.addAll(push.tags()));
    List<Part> parts = decoded(first.parts(), parameters);
    long bytes = parts.stream().mapToLong(Part::payloadBytes).sum();
    HeldMemory memory =
        HeldMemory.allocate(Entry.headRoom(tags.size(), parts, mark.factors()), bytes);
    PushCommand mean = new PushCommand(tags, first.operation(), parts, memory);
    Gradients gradients = new Gradients(kernels, ofRanks);
    MemorySegment scratch = OffHeap.allocate(4L * CHUNK_ELEMENTS);
    try {
      long at = 0;
      for (int part = 0; part < parts.size(); part++) {
        int partBytes = parts.get(part).payloadBytes();
        gradients.mean(part, mean.payload().asSlice(at, partBytes), scratch);
        at += partBytes;
      }
    } catch (RuntimeException e) {
      memory.release();
      throw e;
    } finally {
      OffHeap.free(scratch);
    }
    return mean;
  }

  private static List<Part> decoded(List<Part> sent, Set<ParameterRecord> parameters) {
    Map<Long, ParameterRecord> known = new HashMap<>();
    parameters.forEach(parameter -> known.put(parameter.id(), parameter));
    List<Part> parts = new ArrayList<>(sent.size());
    for (Part part : sent) {
      ParameterRecord parameter = known.get(part.parameter());
      if (parameter == null) {
        throw new IllegalArgumentException("a part without its parameter: " + part);
      }
      int bytes = (int) (4 * part.elements(parameter.elementsIn(part.block())));
      parts.add(new Part(part.parameter(), part.block(), Codec.F32, bytes, part.runs()));
    }
    return parts;
  }

  private void mean(int part, MemorySegment mean, MemorySegment scratch) {
    int elements = (int) (mean.byteSize() / 4);
    boolean divisible =
        ofRanks.stream().allMatch(push -> push.parts().get(part).codec().fixedSize());
    int chunk = divisible ? CHUNK_ELEMENTS : Math.max(1, elements);
    MemorySegment values = chunk <= CHUNK_ELEMENTS ? scratch : OffHeap.allocate(4L * chunk);
    try {
      for (int from = 0; from < elements; from += chunk) {
        int count = Math.min(chunk, elements - from);
        for (int rank = 0; rank < read.length; rank++) {
          add(rank, part, from, count, mean, values);
        }
        kernels.scale(mean, 4L * from, 1f / read.length, count);
      }
    } finally {
      if (chunk > CHUNK_ELEMENTS) {
        OffHeap.free(values);
      }
    }
    for (int rank = 0; rank < read.length; rank++) {
      read[rank] += ofRanks.get(rank).parts().get(part).payloadBytes();
    }
  }

  private void add(
      int rank, int part, int from, int count, MemorySegment mean, MemorySegment values) {
    MemorySegment payload = ofRanks.get(rank).payload();
    Codec codec = ofRanks.get(rank).parts().get(part).codec();
    long at = read[rank] + (from == 0 ? 0 : codec.bytes(DType.F32, from));
    if (rank == 0) {
      codec.decode(kernels, payload, at, mean, 4L * from, count);
    } else if (codec == Codec.F32) {
      kernels.add(mean, 4L * from, payload, at, count);
    } else {
      codec.decode(kernels, payload, at, values, 0, count);
      kernels.add(mean, 4L * from, values, 0, count);
    }
  }

  /** Whether two pushes name the same elements. */
  static boolean sameBlocks(PushCommand a, PushCommand b) {
    if (a.parts().size() != b.parts().size()) {
      return false;
    }
    for (int i = 0; i < a.parts().size(); i++) {
      Part one = a.parts().get(i);
      Part other = b.parts().get(i);
      if (one.parameter() != other.parameter()
          || one.block() != other.block()
          || !Arrays.equals(one.runs(), other.runs())) {
        return false;
      }
    }
    return true;
  }
}
