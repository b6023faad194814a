package io.tensorhold.wire;

import com.google.protobuf.CodedOutputStream;
import io.grpc.Drainable;
import io.grpc.KnownLength;
import io.netty.buffer.CompositeByteBuf;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The bytes of an outgoing frame. gRPC drains it into its own buffers, once. Where the channel's
 * allocator is a {@link WireAllocator}, large pieces become part of such a buffer as they lie in
 * memory; elsewhere the payload goes there through a scratch array that stays in the processor's
 * cache.
 */
final class FrameStream extends InputStream implements Drainable, KnownLength {
  private static final int SCRATCH_BYTES = 32 << 10;
  private static final ThreadLocal<byte[]> SCRATCH =
      ThreadLocal.withInitial(() -> new byte[SCRATCH_BYTES]);

  /** Bytes of a piece, on average, below which copying costs less than handing it over. */
  private static final int PASSED_PIECE_BYTES = 32 << 10;

  /** Owns no memory: what it may read, every thread may. */
  private static final Thread ANY_THREAD = Thread.ofPlatform().unstarted(() -> {});

  private final Frame<?> frame;
  private final byte[] prefix;
  private final boolean passable;
  private long position;
  private final long size;

  FrameStream(Frame<?> frame) {
    this.frame = frame;
    this.prefix = prefix(frame);
    this.size = prefix.length + frame.payloadBytes();
    this.passable = passable(frame);
    if (size > Integer.MAX_VALUE) {
      throw new IllegalArgumentException("a message of %d bytes is too long".formatted(size));
    }
  }

  private static boolean passable(Frame<?> frame) {
    long pieces = frame.pieces().size();
    return pieces > 0
        && frame.payloadBytes() >= PASSED_PIECE_BYTES * pieces
        && frame.pieces().stream()
            .allMatch(piece -> piece.isNative() && piece.isAccessibleBy(ANY_THREAD));
  }

  private static byte[] prefix(Frame<?> frame) {
    int headerBytes = frame.header().getSerializedSize();
    int payloadBytes = Math.toIntExact(frame.payloadBytes());
    int bytes = 0;
    if (headerBytes > 0) {
      bytes += CodedOutputStream.computeMessageSize(1, frame.header());
    }
    if (payloadBytes > 0) {
      bytes += 1 + CodedOutputStream.computeUInt32SizeNoTag(payloadBytes);
    }
    byte[] prefix = new byte[bytes];
    CodedOutputStream out = CodedOutputStream.newInstance(prefix);
    try {
      if (headerBytes > 0) {
        out.writeMessage(FrameMarshaller.HEADER_FIELD, frame.header());
      }
      if (payloadBytes > 0) {
        out.writeUInt32NoTag(FrameMarshaller.tag(FrameMarshaller.PAYLOAD_FIELD));
        out.writeUInt32NoTag(payloadBytes);
      }
      out.checkNoSpaceLeft();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return prefix;
  }

  int prefixBytes() {
    return prefix.length;
  }

  @Override
  public int available() {
    if (passable && position == 0) {
      WireAllocator.expect(this);
    }
    return (int) (size - position);
  }

  @Override
  public int drainTo(OutputStream target) throws IOException {
    if (position != 0) {
      throw new IllegalStateException("the message was read already");
    }
    target.write(prefix);
    CompositeByteBuf buffer = passable ? WireAllocator.take(this) : null;
    if (buffer == null) {
      copyTo(target);
    } else {
      for (MemorySegment piece : frame.pieces()) {
        buffer.addComponent(true, new PieceBuffer(buffer.alloc(), frame, piece));
      }
    }
    position = size;
    frame.close();
    return (int) size;
  }

  private void copyTo(OutputStream target) throws IOException {
    byte[] scratch = SCRATCH.get();
    for (MemorySegment piece : frame.pieces()) {
      for (long at = 0; at < piece.byteSize(); at += SCRATCH_BYTES) {
        int count = (int) Math.min(SCRATCH_BYTES, piece.byteSize() - at);
        MemorySegment.copy(piece, ValueLayout.JAVA_BYTE, at, scratch, 0, count);
        target.write(scratch, 0, count);
      }
    }
  }

  @Override
  public int read() {
    byte[] one = new byte[1];
    return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
  }

  @Override
  public int read(byte[] target, int offset, int length) {
    if (position == size) {
      return length == 0 ? 0 : -1;
    }
    int copied = 0;
    if (position < prefix.length) {
      copied = (int) Math.min(length, prefix.length - position);
      System.arraycopy(prefix, (int) position, target, offset, copied);
      position += copied;
    }
    long start = prefix.length;
    for (MemorySegment piece : frame.pieces()) {
      long end = start + piece.byteSize();
      if (copied < length && position < end) {
        int count = (int) Math.min(length - copied, end - position);
        MemorySegment.copy(
            piece, ValueLayout.JAVA_BYTE, position - start, target, offset + copied, count);
        copied += count;
        position += count;
      }
      start = end;
    }
    return copied;
  }

  @Override
  public void close() {
    if (passable) {
      WireAllocator.take(this);
    }
    frame.close();
  }
}
