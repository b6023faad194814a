package io.tensorhold.server.training;

import io.tensorhold.server.shard.StepMark;

/** Which part of which step of a model waits, in the term of a leader. */
record StepKey(long term, long model, long step, int part) implements Comparable<StepKey> {
  static StepKey of(StepPush push) {
    StepMark mark = push.mark();
    return new StepKey(push.term(), mark.model(), mark.step(), mark.part());
  }

  @Override
  public int compareTo(StepKey other) {
    int order = Long.compare(term, other.term);
    order = order != 0 ? order : Long.compareUnsigned(model, other.model);
    order = order != 0 ? order : Long.compare(step, other.step);
    return order != 0 ? order : Integer.compare(part, other.part);
  }
}
