package io.tensorhold.server.base;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Memory outside the heap, taken and given back piece by piece.
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

  private OffHeap() {}

  /**
   * Memory of {@code bytes} bytes with undefined content.
   *
   * @throws OutOfMemoryError if the system has none left
   */
  public static MemorySegment allocate(long bytes) {
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
    try {
      FREE.invokeExact(memory);
    } catch (Throwable t) {
      throw new AssertionError(t);
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
