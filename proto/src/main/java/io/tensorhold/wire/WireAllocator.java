package io.tensorhold.wire;

import io.netty.buffer.AbstractByteBufAllocator;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.CompositeByteBuf;
import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;

/**
 * The allocator of our channels. It keeps the memory that sockets are read into, and lets a frame's
 * payload reach the socket from where it lies.
 *
 * <p>The latter works so. gRPC copies a message into a buffer that it takes from its channel's
 * allocator. Right before, on the same thread, it asks the message for its length. A {@link
 * FrameStream} that is asked says so to this class; the buffer that is then handed out has room for
 * the message's first bytes only, and when they are written the frame appends slices of its own
 * memory. Where gRPC behaves in another way the frame finds no such buffer and copies, as it does
 * where passing through is switched off.
 */
final class WireAllocator extends AbstractByteBufAllocator {
  /** Bytes that gRPC writes before a message. */
  static final int GRPC_PREFIX_BYTES = 5;

  private static final ThreadLocal<Placement> PLACEMENT = ThreadLocal.withInitial(Placement::new);

  private final ByteBufAllocator memory;
  private final boolean passThrough;
  private final ReadBuffers reads = new ReadBuffers();
  private final LongAdder passed = new LongAdder();

  /** A frame that waits for its buffer, and the buffer when it was handed out. */
  private static final class Placement {
    private @Nullable FrameStream frame;
    private @Nullable CompositeByteBuf buffer;
    private @Nullable WireAllocator from;
  }

  /**
   * An allocator.
   *
   * @param memory gives everything else
   * @param passThrough false: payloads are copied
   */
  WireAllocator(ByteBufAllocator memory, boolean passThrough) {
    super(true);
    this.memory = memory;
    this.passThrough = passThrough;
  }

  /** The next buffer that this thread asks for is the frame's. */
  static void expect(FrameStream frame) {
    Placement placement = PLACEMENT.get();
    placement.frame = frame;
    placement.buffer = null;
  }

  /**
   * The buffer that was handed out for the frame, full but for the payload; null: there is none.
   */
  static @Nullable CompositeByteBuf take(FrameStream frame) {
    Placement placement = PLACEMENT.get();
    if (placement.frame != frame) {
      return null;
    }
    CompositeByteBuf buffer = placement.buffer;
    WireAllocator from = placement.from;
    placement.frame = null;
    placement.buffer = null;
    placement.from = null;
    if (buffer == null || from == null || buffer.isWritable()) {
      return null;
    }
    from.passed.increment();
    return buffer;
  }

  /** Frames whose payload was passed through so far. */
  long passed() {
    return passed.sum();
  }

  @Override
  public ByteBuf buffer(int initialCapacity, int maxCapacity) {
    Placement placement = PLACEMENT.get();
    FrameStream frame = placement.frame;
    if (!passThrough || frame == null || placement.buffer != null) {
      return super.buffer(initialCapacity, maxCapacity);
    }
    int head = GRPC_PREFIX_BYTES + frame.prefixBytes();
    // No limit: past it, the parts would be copied together, and HTTP/2 adds the next message too.
    CompositeByteBuf buffer = compositeDirectBuffer(Integer.MAX_VALUE);
    buffer.addComponent(false, memory.directBuffer(head, head).writerIndex(head));
    placement.buffer = buffer;
    placement.from = this;
    return buffer;
  }

  @Override
  protected ByteBuf newHeapBuffer(int initialCapacity, int maxCapacity) {
    return memory.heapBuffer(initialCapacity, maxCapacity);
  }

  @Override
  protected ByteBuf newDirectBuffer(int initialCapacity, int maxCapacity) {
    if (initialCapacity > ReadBuffers.BYTES / 2 && initialCapacity <= ReadBuffers.BYTES) {
      ByteBuf buffer = reads.take(this, initialCapacity, maxCapacity);
      if (buffer != null) {
        return toLeakAwareBuffer(buffer);
      }
    }
    return memory.directBuffer(initialCapacity, maxCapacity);
  }

  @Override
  public boolean isDirectBufferPooled() {
    return memory.isDirectBufferPooled();
  }
}
