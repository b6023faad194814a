package io.tensorhold.wire;

import com.google.protobuf.Message;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A message with block payloads: its header, and the payloads one after another.
 *
 * <p>Whoever holds a frame closes it. A frame to be sent runs its release once, when its pieces
 * were written out or when it is closed, whichever comes first; so the sender may close it as soon
 * as the transport has taken the bytes, and must not before.
 *
 * @param <H> type of the header
 */
public final class Frame<H extends Message> implements AutoCloseable {
  private final H header;
  private final List<MemorySegment> pieces;
  private final long bytes;
  private final AtomicReference<Runnable> release;

  private Frame(H header, List<MemorySegment> pieces, Runnable release) {
    this.header = header;
    this.pieces = List.copyOf(pieces);
    this.bytes = pieces.stream().mapToLong(MemorySegment::byteSize).sum();
    this.release = new AtomicReference<>(release);
  }

  /** A frame to be sent; the pieces stay unchanged until {@code release} runs. */
  public static <H extends Message> Frame<H> of(
      H header, List<MemorySegment> pieces, Runnable release) {
    return new Frame<>(header, pieces, release);
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
   * The payloads of a received frame, contiguous.
   *
   * @throws IllegalStateException if the frame was made of several pieces
   */
  public MemorySegment payload() {
    return switch (pieces.size()) {
      case 0 -> MemorySegment.ofArray(new byte[0]);
      case 1 -> pieces.getFirst();
      default -> throw new IllegalStateException("a frame to be sent has no contiguous payload");
    };
  }

  List<MemorySegment> pieces() {
    return pieces;
  }

  @Override
  public void close() {
    Runnable once = release.getAndSet(null);
    if (once != null) {
      once.run();
    }
  }
}
