package io.tensorhold.server.shard;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * The pushes of a session that were applied.
 *
 * @param low all with a smaller number were acknowledged or given up
 * @param seqs numbers of those that were applied, from {@code low} on
 */
@SuppressWarnings("ArrayRecordComponent") // read in a loop, and never changed
record AppliedPushes(long session, long low, long[] seqs) {
  /** Bytes in the log. */
  int bytes() {
    return 8 + 8 + 4 + 8 * seqs.length;
  }

  void write(ByteBuffer out) {
    out.putLong(session).putLong(low).putInt(seqs.length);
    Arrays.stream(seqs).forEach(out::putLong);
  }

  static AppliedPushes read(ByteBuffer in) {
    long session = in.getLong();
    long low = in.getLong();
    int count = in.getInt();
    if (count < 0 || count > in.remaining() / Long.BYTES) {
      throw new IllegalArgumentException(
          "pushes of a session in the log: value=%d allowed=0..%d"
              .formatted(count, in.remaining() / Long.BYTES));
    }
    long[] seqs = new long[count];
    Arrays.setAll(seqs, i -> in.getLong());
    return new AppliedPushes(session, low, seqs);
  }
}
