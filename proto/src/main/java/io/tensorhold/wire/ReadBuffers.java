package io.tensorhold.wire;

import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.UnpooledDirectByteBuf;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import org.jspecify.annotations.Nullable;

/**
 * Memory for what is read from sockets, used again and again. The process keeps up to {@value
 * #KEPT} pieces of {@value #BYTES} bytes, as many as two connections at their full window need;
 * Netty's own pools give chunks back to the system and clear new ones all the time while payloads
 * wait to be read, an eighth of a server's time under a stream of pushes.
 */
final class ReadBuffers {
  /** The most that Netty reads from a socket at once. */
  static final int BYTES = 64 << 10;

  private static final int KEPT = 256;

  private final ArrayDeque<ByteBuffer> free = new ArrayDeque<>();
  private int made;

  /** A buffer of up to {@value #BYTES} bytes that may grow elsewhere; null: all are in use. */
  @Nullable UnpooledDirectByteBuf take(ByteBufAllocator allocator, int bytes, int maxBytes) {
    ByteBuffer memory;
    synchronized (free) {
      memory = free.poll();
      if (memory == null) {
        if (made == KEPT) {
          return null;
        }
        made++;
      }
    }
    return new ReadBuffer(
        allocator, memory == null ? ByteBuffer.allocateDirect(BYTES) : memory, bytes, maxBytes);
  }

  private final class ReadBuffer extends UnpooledDirectByteBuf {
    private final ByteBuffer memory;

    ReadBuffer(ByteBufAllocator allocator, ByteBuffer memory, int bytes, int maxBytes) {
      super(allocator, memory.slice(0, bytes), maxBytes);
      this.memory = memory;
      clear();
    }

    @Override
    protected void deallocate() {
      super.deallocate();
      synchronized (free) {
        free.push(memory);
      }
    }
  }
}
