package io.tensorhold.server.shard;

import io.tensorhold.server.base.HeldMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/**
 * A command, or an entry of several, on its way to the log. A large one lies outside the heap:
 * gradients by the gigabyte would otherwise keep the collector busy.
 *
 * <p>Whoever has it lets go of it with {@link #release}, once it is sure that nobody reads its
 * bytes any more. Who can't be sure does nothing: the collector frees the memory when {@link
 * #buffer} and all that was made of it are out of reach.
 */
public final class EntryBytes {
  /** What is smaller is cheaper on the heap. */
  private static final int LEAST_OUTSIDE_BYTES = 64 << 10;

  private final ByteBuffer bytes;
  private final @Nullable HeldMemory memory;
  private final AtomicBoolean released = new AtomicBoolean();

  private EntryBytes(byte[] bytes) {
    this.bytes = ByteBuffer.wrap(bytes);
    this.memory = null;
  }

  @SuppressWarnings("restricted") // memory that is counted, and collected where nobody counts
  private EntryBytes(HeldMemory memory, MemorySegment entry) {
    this.memory = memory;
    AtomicBoolean once = released; // of itself the cleaner must know nothing
    this.bytes = entry.reinterpret(Arena.ofAuto(), gone -> release(memory, once)).asByteBuffer();
  }

  /** A command or an entry that stands on the heap. */
  public static EntryBytes of(byte[] bytes) {
    return new EntryBytes(bytes);
  }

  /** An entry of a push. */
  public static EntryBytes push(PushCommand push) {
    return of(null, push);
  }

  /**
   * An entry of a push that is a part of a step. The step's factors, if the mark has them, become
   * the push's when it is read.
   */
  public static EntryBytes step(StepMark mark, PushCommand push) {
    return of(mark, push);
  }

  private static EntryBytes of(@Nullable StepMark mark, PushCommand push) {
    int head = Entry.headBytes(mark, push);
    HeldMemory held = push.memory();
    MemorySegment around = held == null ? null : held.withFront(head);
    if (held != null && around != null) {
      Entry.writeHead(littleEndian(around), mark, push);
      return new EntryBytes(held.hold(), around);
    }
    int size = Math.toIntExact(head + push.payload().byteSize());
    if (size < LEAST_OUTSIDE_BYTES) {
      return new EntryBytes(mark == null ? Entry.push(push) : Entry.step(mark, push));
    }
    HeldMemory own = HeldMemory.allocate(0, size);
    MemorySegment entry = own.content();
    Entry.writeHead(littleEndian(entry), mark, push);
    entry.asSlice(head).copyFrom(push.payload());
    return new EntryBytes(own, entry);
  }

  /**
   * One entry of several, which are released. Each is an entry of its own before, so that a large
   * push, which is alone in its entry, is not copied.
   */
  public static EntryBytes join(List<EntryBytes> entries) {
    if (entries.size() == 1) {
      return entries.getFirst();
    }
    int size = 1;
    for (EntryBytes entry : entries) {
      size = Math.addExact(size, entry.size() - 1);
    }
    if (size < LEAST_OUTSIDE_BYTES) {
      byte[] joined = new byte[size];
      join(entries, ByteBuffer.wrap(joined));
      return new EntryBytes(joined);
    }
    HeldMemory own = HeldMemory.allocate(0, size);
    join(entries, own.content().asByteBuffer());
    return new EntryBytes(own, own.content());
  }

  private static void join(List<EntryBytes> entries, ByteBuffer out) {
    out.put((byte) Entry.FORMAT);
    for (EntryBytes entry : entries) {
      out.put(entry.buffer().position(1));
      entry.release();
    }
  }

  private static ByteBuffer littleEndian(MemorySegment memory) {
    return memory.asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Bytes that it has. */
  public int size() {
    return bytes.remaining();
  }

  /** The bytes; they do not change. */
  public ByteBuffer buffer() {
    return bytes.duplicate();
  }

  /** What they lie in; null: the heap. */
  public @Nullable HeldMemory memory() {
    return memory;
  }

  /** Lets go: nobody reads the bytes any more. */
  public void release() {
    if (memory != null) {
      release(memory, released);
    }
  }

  private static void release(HeldMemory memory, AtomicBoolean once) {
    if (once.compareAndSet(false, true)) {
      memory.release();
    }
  }
}
