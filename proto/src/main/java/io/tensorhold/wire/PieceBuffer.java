package io.tensorhold.wire;

import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.UnpooledDirectByteBuf;
import java.lang.foreign.MemorySegment;

/** A piece of a frame as Netty sees it; the frame is held until Netty lets go of it. */
final class PieceBuffer extends UnpooledDirectByteBuf {
  private final Frame<?> frame;

  PieceBuffer(ByteBufAllocator allocator, Frame<?> frame, MemorySegment piece) {
    super(allocator, piece.asByteBuffer(), (int) piece.byteSize());
    this.frame = frame;
    frame.hold();
  }

  @Override
  protected void deallocate() {
    super.deallocate();
    frame.release();
  }
}
