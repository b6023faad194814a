package io.tensorhold.server.shard;

import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.ShardStore;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The state of a shard that is neither block nor parameter: how far the log is applied, which
 * pushes were, which steps, which parameters are gone.
 *
 * <p>On disk: do not change. Big-endian: u8 format 3, u64 term, u64 index, u64 pushes, dropped
 * ranges (u32 n, n × (u64 first, u64 last)), sessions (see {@link Sessions#write}), steps (see
 * {@link StepTable#write}; format 1 has none, format 2 no factors in them).
 */
final class ShardState {
  private static final int FORMAT = 3;

  long term;
  long index = -1;
  long pushes;
  final DroppedParameters dropped = new DroppedParameters();
  final Sessions sessions = new Sessions();
  final StepTable steps = new StepTable();

  /** The state that a store holds; as new if it holds none. */
  static ShardState of(ShardStore store) {
    ShardState state = new ShardState();
    byte[] stored = store.state();
    if (stored != null) {
      state.read(stored);
    }
    return state;
  }

  /** The index in a record of {@link #toBytes}. */
  static long indexOf(byte[] record) {
    return ByteBuffer.wrap(record).getLong(1 + Long.BYTES);
  }

  /** What stands against a push, of blocks or of rows, whole; null: nothing. */
  @Nullable Outcome objection(List<Tag> tags, @Nullable StepMark mark) {
    for (Tag tag : tags) {
      Outcome known = sessions.verdict(tag.session(), tag.seq()).objection;
      if (known != null) {
        return known;
      }
    }
    if (mark == null) {
      return null;
    }
    if (dropped.contains(mark.model()) || mark.pieces().size() != tags.size()) {
      return Outcome.INVALID;
    }
    for (int i = 0; i < mark.pieces().size(); i++) {
      Outcome known = steps.objection(mark, mark.pieces().get(i), tags.get(i).session());
      if (known != null) {
        return known;
      }
    }
    return null;
  }

  /** Takes up which pushes a leader's overlay had at a checkpoint of a CHECKPOINTED model. */
  Outcome adopt(List<AppliedPushes> checkpointed) {
    for (AppliedPushes some : checkpointed) {
      pushes++;
      sessions.adopt(some, pushes);
    }
    return Outcome.APPLIED;
  }

  /** Counts a push that was applied. */
  void applied(List<Tag> tags, @Nullable StepMark mark) {
    pushes++;
    for (int i = 0; i < tags.size(); i++) {
      Tag tag = tags.get(i);
      sessions.applied(tag.session(), tag.seq(), tag.ackedBelow(), pushes);
      if (mark != null) {
        steps.applied(mark, mark.pieces().get(i), tag.session());
      }
    }
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
      steps.write(out);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  void read(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int format = in.readByte();
      if (format < 1 || format > FORMAT) {
        throw new IllegalStateException(
            "state record of a shard: format=%d known=1..%d; a newer Tensorhold wrote it"
                .formatted(format, FORMAT));
      }
      term = in.readLong();
      index = in.readLong();
      pushes = in.readLong();
      dropped.read(in);
      sessions.read(in);
      if (format > 1) {
        steps.read(in, format > 2);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("the state record of a shard is cut short", e);
    }
  }
}
