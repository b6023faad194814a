package io.tensorhold.server.shard;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.util.Map;
import java.util.TreeMap;

/**
 * How far someone has come on one shard: the last whole step, and the parts that have come of the
 * step after it. It keeps the checksum of every part of its latest step.
 */
final class StepCounter {
  private static final long UNKNOWN = -1;

  /** All steps up to this one are whole, or were left out. */
  private long whole;

  /** The latest step of which a part has come; {@code whole}, or a later one. */
  private long latest;

  private int parts;

  /** Of the latest step's parts: their checksums, or {@link #UNKNOWN}. */
  private final TreeMap<Integer, Long> crcs = new TreeMap<>();

  long whole() {
    return whole;
  }

  long latest() {
    return latest;
  }

  /** Whether a part has come. */
  boolean has(long step, int part) {
    return step <= whole || (step == latest && crcs.containsKey(part));
  }

  /** Whether a part of the latest step, which has come, had these bytes, or nobody knows. */
  boolean sameBytes(int part, int crc) {
    long known = crcs.get(part);
    return known == UNKNOWN || known == Integer.toUnsignedLong(crc);
  }

  /** The parts that have come are somebody else's. */
  void forgetBytes() {
    crcs.replaceAll((part, crc) -> UNKNOWN);
  }

  /** Whether a part comes next: of the latest step, or of a later one when that is whole. */
  boolean expects(long step, int ofParts) {
    return step == latest ? ofParts == parts : step > latest && latest == whole;
  }

  /** Steps up to this one will not come: what lacks parts of them stays as it is. */
  void leaveOut(long step) {
    if (step >= latest) {
      whole = latest;
    }
  }

  /** Counts a part; a later step begins though the latest may lack parts. */
  void add(long step, int part, int ofParts, int crc) {
    if (step != latest) {
      latest = step;
      parts = ofParts;
      crcs.clear();
    }
    crcs.put(part, Integer.toUnsignedLong(crc));
    if (crcs.size() == parts) {
      whole = latest;
    }
  }

  /**
   *
   *
   * <pre>u64 whole, u64 latest, u32 parts, u32 n, n × (u32 part, i64 crc or −1)</pre>
   */
  void write(DataOutput out) throws IOException {
    out.writeLong(whole);
    out.writeLong(latest);
    out.writeInt(parts);
    out.writeInt(crcs.size());
    for (Map.Entry<Integer, Long> entry : crcs.entrySet()) {
      out.writeInt(entry.getKey());
      out.writeLong(entry.getValue());
    }
  }

  static StepCounter read(DataInput in) throws IOException {
    StepCounter counter = new StepCounter();
    counter.whole = in.readLong();
    counter.latest = in.readLong();
    counter.parts = in.readInt();
    int count = in.readInt();
    for (int i = 0; i < count; i++) {
      int part = in.readInt();
      counter.crcs.put(part, in.readLong());
    }
    return counter;
  }
}
