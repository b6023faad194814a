package io.tensorhold.server.shard;

import io.tensorhold.server.store.ShardStore;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;

/**
 * The state of a shard that is neither block nor parameter: how far the log is applied, which
 * pushes were, which parameters are gone.
 *
 * <p>On disk: do not change. Big-endian: u8 format 1, u64 term, u64 index, u64 pushes, dropped
 * ranges (u32 n, n × (u64 first, u64 last)), sessions (see {@link Sessions#write}).
 */
final class ShardState {
  private static final int FORMAT = 1;

  long term;
  long index = -1;
  long pushes;
  final DroppedParameters dropped = new DroppedParameters();
  final Sessions sessions = new Sessions();

  /** The state that a store holds; as new if it holds none. */
  static ShardState of(ShardStore store) {
    ShardState state = new ShardState();
    byte[] stored = store.state();
    if (stored != null) {
      state.read(stored);
    }
    return state;
  }

  byte[] toBytes() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeByte(FORMAT);
      out.writeLong(term);
      out.writeLong(index);
      out.writeLong(pushes);
      dropped.write(out);
      sessions.write(out);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  void read(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int format = in.readByte();
      if (format != FORMAT) {
        throw new IllegalStateException(
            "state record of a shard: format=%d known=%d; a newer Tensorhold wrote it"
                .formatted(format, FORMAT));
      }
      term = in.readLong();
      index = in.readLong();
      pushes = in.readLong();
      dropped.read(in);
      sessions.read(in);
    } catch (IOException e) {
      throw new UncheckedIOException("the state record of a shard is cut short", e);
    }
  }
}
