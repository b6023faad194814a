package io.tensorhold.wire;

import com.google.protobuf.Message;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * A message with block payloads: its header, and the payloads one after another.
 *
 * <p>Whoever holds a frame closes it. The memory of a frame to be sent may be on its way to the
 * socket long after that: its release runs once, when the frame is closed and the transport has let
 * go of every piece. The payload of a received frame still lies in the transport's buffers; it is
 * read once, from the front, to where it belongs.
 *
 * @param <H> type of the header
 */
public final class Frame<H extends Message> implements AutoCloseable {
  private static final MemorySegment NOTHING = MemorySegment.ofArray(new byte[0]);

  private final H header;
  private final List<MemorySegment> pieces;
  private final @Nullable PayloadSource source;
  private final long bytes;
  private final Runnable release;
  private final AtomicInteger holders = new AtomicInteger(1);
  private final AtomicBoolean closed = new AtomicBoolean();
  private PayloadPool.@Nullable Lease whole;

  private Frame(
      H header,
      List<MemorySegment> pieces,
      @Nullable PayloadSource source,
      long bytes,
      Runnable release) {
    this.header = header;
    this.pieces = pieces;
    this.source = source;
    this.bytes = bytes;
    this.release = release;
  }

  /** A frame to be sent; the pieces stay unchanged until {@code release} runs. */
  public static <H extends Message> Frame<H> of(
      H header, List<MemorySegment> pieces, Runnable release) {
    long bytes = 0;
    for (MemorySegment piece : pieces) {
      bytes += piece.byteSize();
    }
    return new Frame<>(header, List.copyOf(pieces), null, bytes, release);
  }

  static <H extends Message> Frame<H> received(H header, @Nullable PayloadSource source) {
    return source == null
        ? new Frame<>(header, List.of(), null, 0, () -> {})
        : new Frame<>(header, List.of(), source, source.left(), source::close);
  }

  /** The header. */
  public H header() {
    return header;
  }

  /** Bytes of all payloads together. */
  public long payloadBytes() {
    return bytes;
  }

  /**
   * Fills {@code target} with the next bytes of a received frame's payload.
   *
   * @throws IllegalStateException if fewer bytes are left
   */
  public void read(MemorySegment target) {
    if (target.byteSize() == 0) {
      return;
    }
    if (source == null || source.left() < target.byteSize()) {
      throw new IllegalStateException(
          "a frame has fewer bytes of payload left than asked for: value=%d allowed=%d"
              .formatted(target.byteSize(), source == null ? 0 : source.left()));
    }
    source.read(target);
  }

  /**
   * The payload of a received frame in one piece, which is valid until the frame is closed.
   *
   * @throws IllegalStateException if the frame is one to be sent, or was read from already
   */
  public MemorySegment payload() {
    if (bytes == 0) {
      return NOTHING;
    }
    PayloadPool.Lease lease = whole;
    if (lease == null) {
      lease = PayloadPool.take(Math.toIntExact(bytes));
      whole = lease;
      read(lease.memory());
    }
    return lease.memory();
  }

  List<MemorySegment> pieces() {
    return pieces;
  }

  /** One holder more: the transport, for a piece that it sends. */
  void hold() {
    holders.incrementAndGet();
  }

  /** One holder less. */
  void release() {
    if (holders.decrementAndGet() == 0) {
      release.run();
    }
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      PayloadPool.Lease lease = whole;
      if (lease != null) {
        lease.giveBack().run();
      }
      release();
    }
  }
}
