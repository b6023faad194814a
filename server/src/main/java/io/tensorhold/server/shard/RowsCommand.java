package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Tag;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;

/**
 * One push of rows as the log carries it: to be applied whole, once, or not at all.
 *
 * @param keys rise strictly
 * @param values of the rows under the codec, each row by itself, one after another
 */
@SuppressWarnings("ArrayRecordComponent") // read in a loop, and never changed
public record RowsCommand(
    Tag tag, Operation operation, long table, Codec codec, long[] keys, MemorySegment values) {

  /** Bytes in the log. */
  long bytes() {
    return 24 + 1 + 8 + 1 + 4 + 8L * keys.length + values.byteSize();
  }

  void write(ByteBuffer out) {
    out.putLong(tag.session()).putLong(tag.seq()).putLong(tag.ackedBelow());
    out.put((byte) operation.id).putLong(table).put((byte) codec.id());
    writeKeys(out, keys);
    MemorySegment.ofBuffer(out).copyFrom(values);
  }

  static RowsCommand read(ByteBuffer in) {
    Tag tag = new Tag(in.getLong(), in.getLong(), in.getLong());
    Operation operation = Operation.ofId(in.get());
    long table = in.getLong();
    Codec codec = Codec.ofId(in.get());
    long[] keys = readKeys(in);
    return new RowsCommand(tag, operation, table, codec, keys, MemorySegment.ofBuffer(in));
  }

  /** Writes keys and their number. */
  static void writeKeys(ByteBuffer out, long[] keys) {
    out.putInt(keys.length);
    out.asLongBuffer().put(keys);
    out.position(out.position() + 8 * keys.length);
  }

  static long[] readKeys(ByteBuffer in) {
    int count = in.getInt();
    if (count < 0 || count > in.remaining() / Long.BYTES) {
      throw new IllegalArgumentException(
          "keys of a command in the log: value=%d allowed=0..%d"
              .formatted(count, in.remaining() / Long.BYTES));
    }
    long[] keys = new long[count];
    in.asLongBuffer().get(keys);
    in.position(in.position() + 8 * count);
    return keys;
  }
}
