package io.tensorhold.wire;

import io.grpc.Detachable;
import io.grpc.HasByteBuffer;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;

/** The payload of a received message, in the transport's buffers: read once, from the front. */
final class PayloadSource {
  private static final int SCRATCH_BYTES = 16 << 10;

  private final InputStream in;
  private long left;

  /** The next {@code bytes} bytes of the stream, which is taken over where gRPC lets go of it. */
  PayloadSource(InputStream in, long bytes) {
    this.in = in instanceof Detachable detachable ? detachable.detach() : in;
    this.left = bytes;
  }

  long left() {
    return left;
  }

  /** Fills the memory; as many bytes are left. */
  void read(MemorySegment target) {
    try {
      long at = buffers(target);
      byte[] scratch = at < target.byteSize() ? new byte[SCRATCH_BYTES] : new byte[0];
      while (at < target.byteSize()) {
        int count = in.read(scratch, 0, (int) Math.min(scratch.length, target.byteSize() - at));
        if (count < 0) {
          throw new EOFException("the message is cut short");
        }
        MemorySegment.copy(scratch, 0, target, ValueLayout.JAVA_BYTE, at, count);
        at += count;
      }
      left -= target.byteSize();
    } catch (IOException e) {
      throw new UncheckedIOException(e); // gRPC's streams over buffers never throw it
    }
  }

  /** Copies from the buffers that the transport shows; gives the bytes that were copied. */
  private long buffers(MemorySegment target) throws IOException {
    long at = 0;
    // Small fragments are coalesced and not shown, so this may stop at any of them.
    while (at < target.byteSize()
        && in instanceof HasByteBuffer buffers
        && buffers.byteBufferSupported()) {
      ByteBuffer buffer = buffers.getByteBuffer();
      if (buffer == null || !buffer.hasRemaining()) {
        break;
      }
      long count = Math.min(buffer.remaining(), target.byteSize() - at);
      MemorySegment.copy(MemorySegment.ofBuffer(buffer), 0, target, at, count);
      in.skipNBytes(count);
      at += count;
    }
    return at;
  }

  void close() {
    try {
      in.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
