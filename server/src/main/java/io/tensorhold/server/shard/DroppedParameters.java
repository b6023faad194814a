package io.tensorhold.server.shard;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.util.Map;
import java.util.TreeMap;

/**
 * Ids of parameters that were deleted, as ranges that grow together: a late push must not bring one
 * back.
 */
final class DroppedParameters {
  private final TreeMap<Long, Long> ranges = new TreeMap<>(Long::compareUnsigned);

  static boolean between(long first, long id, long last) {
    return Long.compareUnsigned(first, id) <= 0 && Long.compareUnsigned(id, last) <= 0;
  }

  boolean contains(long id) {
    Map.Entry<Long, Long> before = ranges.floorEntry(id);
    return before != null && Long.compareUnsigned(before.getValue(), id) >= 0;
  }

  void add(long first, long last) {
    long from = first;
    long to = last;
    Map.Entry<Long, Long> before = ranges.floorEntry(first);
    if (before != null && Long.compareUnsigned(before.getValue() + 1, first) >= 0) {
      from = before.getKey();
      to = max(to, before.getValue());
    }
    Map.Entry<Long, Long> after = ranges.higherEntry(from);
    while (after != null && Long.compareUnsigned(after.getKey(), to + 1) <= 0) {
      to = max(to, after.getValue());
      ranges.remove(after.getKey());
      after = ranges.higherEntry(from);
    }
    ranges.put(from, to);
  }

  private static long max(long a, long b) {
    return Long.compareUnsigned(a, b) > 0 ? a : b;
  }

  void write(DataOutput out) throws IOException {
    out.writeInt(ranges.size());
    for (Map.Entry<Long, Long> range : ranges.entrySet()) {
      out.writeLong(range.getKey());
      out.writeLong(range.getValue());
    }
  }

  void read(DataInput in) throws IOException {
    ranges.clear();
    int count = in.readInt();
    for (int i = 0; i < count; i++) {
      ranges.put(in.readLong(), in.readLong());
    }
  }
}
