package io.tensorhold.server.training;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Part;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.Set;

/** Gradients of several ranks for the same blocks, and their mean. */
final class Gradients {
  private Gradients() {}

  /** A copy of a push whose payload is f32, in memory of its own. */
  static PushCommand decoded(Kernels kernels, PushCommand push, Set<ParameterRecord> parameters) {
    List<Part> parts = new ArrayList<>(push.parts().size());
    long total = 0;
    for (Part part : push.parts()) {
      int elements = elements(part, parameters);
      parts.add(new Part(part.parameter(), part.block(), Codec.F32, 4 * elements, part.runs()));
      total += 4L * elements;
    }
    MemorySegment values = MemorySegment.ofArray(new byte[Math.toIntExact(total)]);
    long from = 0;
    long to = 0;
    for (int i = 0; i < parts.size(); i++) {
      Part sent = push.parts().get(i);
      int bytes = parts.get(i).payloadBytes();
      sent.codec().decode(kernels, push.payload(), from, values, to, bytes / 4);
      from += sent.payloadBytes();
      to += bytes;
    }
    return new PushCommand(push.tags(), push.operation(), parts, values);
  }

  /**
   * One push with the tags of all and the mean of their f32 payloads: added in the order given,
   * then multiplied by 1/n.
   */
  static PushCommand mean(Kernels kernels, Collection<PushCommand> ofRanks) {
    List<PushCommand.Tag> tags = new ArrayList<>();
    Iterator<PushCommand> pushes = ofRanks.iterator();
    PushCommand first = pushes.next();
    tags.addAll(first.tags());
    MemorySegment sum = MemorySegment.ofArray(new byte[(int) first.payload().byteSize()]);
    sum.copyFrom(first.payload());
    int count = (int) (sum.byteSize() / 4);
    while (pushes.hasNext()) {
      PushCommand next = pushes.next();
      tags.addAll(next.tags());
      kernels.add(sum, 0, next.payload(), 0, count);
    }
    kernels.scale(sum, 0, 1f / ofRanks.size(), count);
    return new PushCommand(tags, first.operation(), first.parts(), sum);
  }

  /** Whether two pushes with f32 payloads name the same elements. */
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
}
