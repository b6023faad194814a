package io.tensorhold.server.shard;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.store.BlockLayout;
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
 */
final class StateChecksum {
  private StateChecksum() {}

  static long of(
      ShardState state,
      Collection<ParameterRecord> parameters,
      Function<BlockKey, @Nullable Unit> blocks) {
    MessageDigest digest = sha256();
    digest.update(state.toBytes());
    long sum = first(digest);
    for (ParameterRecord parameter : parameters) {
      digest.update(parameter.toBytes());
      sum += first(digest);
      for (int block = 0; block < parameter.blocks(); block++) {
        Unit unit = blocks.apply(new BlockKey(parameter.id(), block));
        if (unit != null) {
          digest.update(ByteBuffer.allocate(12).putLong(parameter.id()).putInt(block).flip());
          MemorySegment memory = unit.memory();
          digest.update(memory.asSlice(0, 32).asByteBuffer());
          digest.update(memory.asSlice(BlockLayout.HEADER_BYTES).asByteBuffer());
          sum += first(digest);
          unit.release();
        }
      }
    }
    return sum;
  }

  private static long first(MessageDigest digest) {
    return ByteBuffer.wrap(digest.digest()).getLong();
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
  }
}
