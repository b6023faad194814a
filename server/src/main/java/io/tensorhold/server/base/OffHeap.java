package io.tensorhold.server.base;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Memory outside the heap, taken and given back piece by piece.
 *
 * <p>Large pieces that are given back are kept for the next one of their size, up to {@value
 * #KEPT_BYTES} bytes in the process: the system would clear a block's pages anew for every push.
 *
 * <p>The C allocator is used directly: a shared arena of the JDK halts all threads when it is
 * closed, which a block that comes and goes thousands of times a second cannot afford. Whoever
 * frees memory answers for it that nobody reads it any more; {@code Unit} counts its readers.
 */
@SuppressWarnings("restricted") // native access is what this class is for
public final class OffHeap {
  private static final MethodHandle MALLOC =
      link("malloc", FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));
  private static final MethodHandle FREE =
      link("free", FunctionDescriptor.ofVoid(ValueLayout.ADDRESS));
  private static final AtomicLong ALLOCATED = new AtomicLong();
  private static final long KEPT_BYTES = 16 << 20;
  private static final int KEPT_PIECE_BYTES = 64 << 10;
  private static final Map<Long, ArrayDeque<MemorySegment>> KEPT = new HashMap<>();
  private static long keptBytes;

  private OffHeap() {}

  /**
   * Memory of {@code bytes} bytes with undefined content.
   *
   * @throws OutOfMemoryError if the system has none left
   */
  public static MemorySegment allocate(long bytes) {
    MemorySegment kept = bytes < KEPT_PIECE_BYTES ? null : takeKept(bytes);
    if (kept != null) {
      ALLOCATED.addAndGet(bytes);
      return kept;
    }
    MemorySegment memory;
    try {
      memory = (MemorySegment) MALLOC.invokeExact(Math.max(1, bytes));
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
    if (memory.address() == 0) {
      throw new OutOfMemoryError("no memory outside the heap: value=%d bytes".formatted(bytes));
    }
    ALLOCATED.addAndGet(bytes);
    return memory.reinterpret(bytes);
  }

  /** Gives back what {@link #allocate} returned; nobody may touch it afterwards. */
  public static void free(MemorySegment memory) {
    ALLOCATED.addAndGet(-memory.byteSize());
    if (memory.byteSize() < KEPT_PIECE_BYTES || !keep(memory)) {
      giveToSystem(memory);
    }
  }

  private static void giveToSystem(MemorySegment memory) {
    try {
      FREE.invokeExact(memory);
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
  }

  private static @Nullable MemorySegment takeKept(long bytes) {
    synchronized (KEPT) {
      ArrayDeque<MemorySegment> pieces = KEPT.get(bytes);
      MemorySegment piece = pieces == null ? null : pieces.poll();
      if (piece != null) {
        keptBytes -= bytes;
        if (pieces.isEmpty()) {
          KEPT.remove(bytes);
        }
      }
      return piece;
    }
  }

  /** Keeps a piece, in place of pieces of other sizes if need be; false: there is no room. */
  private static boolean keep(MemorySegment memory) {
    Long bytes = memory.byteSize();
    synchronized (KEPT) {
      while (keptBytes + bytes > KEPT_BYTES) {
        Long other =
            KEPT.keySet().stream().filter(size -> !size.equals(bytes)).findAny().orElse(null);
        MemorySegment leaving = other == null ? null : takeKept(other);
        if (leaving == null) {
          return false;
        }
        giveToSystem(leaving);
      }
      KEPT.computeIfAbsent(bytes, size -> new ArrayDeque<>()).push(memory);
      keptBytes += bytes;
      return true;
    }
  }

  /** Bytes that are allocated now, in the whole process. */
  public static long allocated() {
    return ALLOCATED.get();
  }

  private static MethodHandle link(String name, FunctionDescriptor signature) {
    Linker linker = Linker.nativeLinker();
    return linker.downcallHandle(
        linker.defaultLookup().find(name).orElseThrow().reinterpret(Arena.global(), null),
        signature);
  }
}
