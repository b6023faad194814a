package io.tensorhold.server.shard;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.RowKey;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.server.store.RowLayout;
import io.tensorhold.server.store.StoreScan;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Collection;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * A number over the whole replicated state: the sum, modulo 2⁶⁴, of the first eight bytes of the
 * SHA-256 of every block (its key, and its bytes without the checksum field), of every parameter
 * record and of the state record. The sum makes the order irrelevant.
 *
 * <p>It is the same over a machine's memory and over its database after a flush.
 */
public final class StateChecksum implements StoreScan.Visitor {
  private final MessageDigest digest = sha256();
  private long sum;
  private long index = -1;

  static long of(
      ShardState state,
      Collection<ParameterRecord> parameters,
      Function<BlockKey, @Nullable Unit> blocks,
      ShardRows rows) {
    StateChecksum checksum = new StateChecksum();
    checksum.add(state.toBytes());
    for (ParameterRecord parameter : parameters) {
      checksum.add(parameter.toBytes());
      if (parameter.table() != null) {
        rows.forEach(parameter, checksum::row);
      }
      for (int block = 0; block < parameter.blocks(); block++) {
        BlockKey key = new BlockKey(parameter.id(), block);
        Unit unit = blocks.apply(key);
        if (unit != null) {
          checksum.block(key, unit.memory());
          unit.release();
        }
      }
    }
    return checksum.value();
  }

  /** The number over all that was given so far. */
  public long value() {
    return sum;
  }

  @Override
  public void block(BlockKey key, MemorySegment memory) {
    digest.update(ByteBuffer.allocate(12).putLong(key.parameter()).putInt(key.block()).flip());
    digest.update(memory.asSlice(0, 32).asByteBuffer());
    digest.update(memory.asSlice(BlockLayout.HEADER_BYTES).asByteBuffer());
    addDigest();
  }

  /** Index of the log that the state was of; −1 if there was none. */
  public long index() {
    return index;
  }

  @Override
  public void row(RowKey key, MemorySegment memory) {
    digest.update(ByteBuffer.allocate(16).putLong(key.table()).putLong(key.key()).flip());
    digest.update(memory.asSlice(0, 12).asByteBuffer());
    digest.update(memory.asSlice(RowLayout.HEADER_BYTES).asByteBuffer());
    addDigest();
  }

  @Override
  public void state(byte[] record) {
    index = ShardState.indexOf(record);
    add(record);
  }

  /** Takes a record in any format that is read; the number is over the present one. */
  @Override
  public void parameter(byte[] record) {
    add(ParameterRecord.of(record).toBytes());
  }

  private void add(byte[] record) {
    digest.update(record);
    addDigest();
  }

  private void addDigest() {
    sum += ByteBuffer.wrap(digest.digest()).getLong();
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
  }
}
