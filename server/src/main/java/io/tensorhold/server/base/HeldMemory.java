package io.tensorhold.server.base;

import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Memory outside the heap that several may hold; the last one to let go frees it.
 *
 * <p>In front of its content there may be room, which is given to one who asks: so the payload of a
 * push becomes an entry of the log without being copied, by writing the entry's head before it.
 */
public final class HeldMemory {
  /** Of the content, as if there were no room before it. */
  private static final int ALIGNMENT = 64;

  private final MemorySegment memory;
  private final long room;
  private final AtomicInteger holders = new AtomicInteger(1);
  private final AtomicBoolean roomTaken = new AtomicBoolean();

  private HeldMemory(MemorySegment memory, long room) {
    this.memory = memory;
    this.room = room;
  }

  /** Memory with undefined content and at least so much room before it, held by the caller. */
  public static HeldMemory allocate(long room, long bytes) {
    long aligned = Math.ceilDiv(room, ALIGNMENT) * ALIGNMENT;
    return new HeldMemory(OffHeap.allocate(aligned + bytes), aligned);
  }

  /** The content; nobody may touch it who does not hold it. */
  public MemorySegment content() {
    return memory.asSlice(room);
  }

  /**
   * The content with bytes in front of it that only the caller has; null: there is no room for
   * them, or somebody else took it. Not held for the caller.
   */
  public @Nullable MemorySegment withFront(long bytes) {
    return bytes <= room && roomTaken.compareAndSet(false, true)
        ? memory.asSlice(room - bytes)
        : null;
  }

  /** Holds it once more; the caller knows that it is held. */
  public HeldMemory hold() {
    if (!holdIfHeld()) {
      throw new IllegalStateException("memory is held that was freed");
    }
    return this;
  }

  /** Holds it if anybody still does. */
  public boolean holdIfHeld() {
    int now = holders.get();
    while (now > 0) {
      int seen = holders.compareAndExchange(now, now + 1);
      if (seen == now) {
        return true;
      }
      now = seen;
    }
    return false;
  }

  /** Lets go. */
  public void release() {
    int left = holders.decrementAndGet();
    if (left == 0) {
      OffHeap.free(memory);
    } else if (left < 0) {
      throw new IllegalStateException("memory was released twice");
    }
  }
}
