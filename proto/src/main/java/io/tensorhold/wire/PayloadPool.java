package io.tensorhold.wire;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Native memory for the payloads of received messages, used again and again: fresh memory would be
 * zeroed and collected for every message. The pool keeps at most {@value #BUFFERS} buffers of
 * {@value #BUFFER_BYTES} bytes; what is smaller than {@value #SMALL_BYTES} or does not fit comes
 * from the heap.
 */
final class PayloadPool {
  private static final int SMALL_BYTES = 64 << 10;
  private static final int BUFFER_BYTES = 1 << 20;
  private static final int BUFFERS = 64;
  private static final ConcurrentLinkedQueue<MemorySegment> FREE = new ConcurrentLinkedQueue<>();
  private static final AtomicInteger MADE = new AtomicInteger();

  /** Memory of a payload, and how to give it back. */
  record Lease(MemorySegment memory, Runnable giveBack) {}

  private PayloadPool() {}

  static Lease take(int bytes) {
    if (bytes >= SMALL_BYTES && bytes <= BUFFER_BYTES) {
      MemorySegment buffer = FREE.poll();
      if (buffer == null && MADE.incrementAndGet() <= BUFFERS) {
        buffer = Arena.global().allocate(BUFFER_BYTES, 64);
      }
      if (buffer != null) {
        MemorySegment taken = buffer;
        return new Lease(taken.asSlice(0, bytes), () -> FREE.add(taken));
      }
    }
    return new Lease(MemorySegment.ofArray(new byte[bytes]), () -> {});
  }
}
