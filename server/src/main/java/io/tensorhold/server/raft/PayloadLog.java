package io.tensorhold.server.raft;

import io.tensorhold.server.base.HeldMemory;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import org.apache.ratis.thirdparty.com.google.protobuf.ByteString;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The large entries of one shard's log, outside Ratis's own: segments of records ({@link
 * PayloadRecord}), written one after another by one thread.
 *
 * <p>A write ends when the record is as durable as the level says: what gathers while the thread is
 * busy shares one fsync. Ratis writes the entry that refers to a payload after that, so an entry
 * whose payload is not there was lost by the disk, not by a killed process.
 *
 * <p>A file whose records are all before the log's first entry is written again from its beginning:
 * its blocks are allocated, and the disk has no metadata to write. Each start begins a new segment,
 * so nothing is ever appended behind a torn record.
 */
final class PayloadLog implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(PayloadLog.class);

  /** A segment that reaches it is followed by another; the largest record is less. */
  static final int SEGMENT_BYTES = 32 << 20;

  /** Files kept for new segments. */
  private static final int SPARES = 4;

  /** Small enough to stay in the processor's cache between the two copies. */
  private static final int STAGING_BYTES = 256 << 10;

  /** Brings a file to disk. */
  interface Forcer {
    Forcer DISK = channel -> channel.force(false);

    void force(FileChannel channel) throws IOException;
  }

  /**
   * How a log is kept.
   *
   * @param interval longest time from a write to its fsync under {@link Fsync#INTERVAL}
   */
  record Settings(Fsync fsync, Duration interval, Forcer forcer) {}

  private record Write(
      long term,
      long index,
      PayloadReference reference,
      ByteString payload,
      @Nullable HeldMemory memory,
      CompletableFuture<Void> done) {
    private static final Write END =
        new Write(
            0, 0, new PayloadReference(0, 0), ByteString.EMPTY, null, new CompletableFuture<>());

    boolean hold() {
      return memory == null || memory.holdIfHeld();
    }

    void release() {
      if (memory != null) {
        memory.release();
      }
    }

    /** The payload, for one who keeps it; held meanwhile. */
    ByteString kept() {
      return memory == null ? payload : UnsafeByteOperations.unsafeWrap(payload.toByteArray());
    }
  }

  private final Path folder;
  private final Settings settings;
  private final LongSupplier logStart;
  private final PayloadIndex index;
  private final LinkedBlockingQueue<Write> queue = new LinkedBlockingQueue<>();
  private final ByteBuffer staging = ByteBuffer.allocateDirect(STAGING_BYTES);

  /** Writes by log index that have not ended: a leader sends them before they are on its disk. */
  private final ConcurrentHashMap<Long, Write> unfinished = new ConcurrentHashMap<>();

  private final List<PayloadIndex.Location> unpublished = new ArrayList<>();
  private final Thread thread;
  private @Nullable FileChannel channel;
  private long epoch;
  private long written;
  private long position;
  private boolean dirty;
  private long dirtySince;
  private @Nullable IOException failure;
  private boolean closed;

  private PayloadLog(Path folder, Settings settings, LongSupplier logStart, PayloadIndex index) {
    this.folder = folder;
    this.settings = settings;
    this.logStart = logStart;
    this.index = index;
    this.thread =
        Thread.ofPlatform().name("payloads-" + folder.getParent()).daemon().unstarted(this::run);
  }

  /**
   * Opens a folder.
   *
   * @param logStart first index that Ratis's log still has; what is before it may go
   */
  static PayloadLog open(Path folder, Settings settings, LongSupplier logStart) throws IOException {
    Files.createDirectories(folder);
    PayloadLog opened = new PayloadLog(folder, settings, logStart, PayloadIndex.scan(folder));
    opened.thread.start();
    return opened;
  }

  /**
   * Writes the payload of an entry; the future ends when it is as durable as the level says.
   *
   * @param memory that the payload lies in, held while it is written; null: the heap
   */
  CompletableFuture<Void> write(
      long term,
      long index,
      PayloadReference reference,
      ByteString payload,
      @Nullable HeldMemory memory) {
    Write write = new Write(term, index, reference, payload, memory, new CompletableFuture<>());
    synchronized (queue) {
      if (closed) {
        return CompletableFuture.failedFuture(new IOException("the payload log is closed"));
      }
      if (!write.hold()) {
        throw new IllegalStateException("the payload of index %d was freed".formatted(index));
      }
      unfinished.put(index, write);
      queue.add(write);
    }
    return write.done;
  }

  /**
   * The payload of an entry.
   *
   * @throws IOException if it is not there, or damaged
   */
  ByteString read(long term, long index, PayloadReference reference) throws IOException {
    Write write = unfinished.get(index);
    if (write != null && write.term == term && write.reference.equals(reference) && write.hold()) {
      try {
        return write.kept();
      } finally {
        write.release();
      }
    }
    return this.index.read(term, index, reference);
  }

  private void run() {
    List<Write> batch = new ArrayList<>();
    for (boolean open = true; open; ) {
      batch.clear();
      take(batch);
      open = !batch.remove(Write.END);
      try {
        write(batch);
        batch.forEach(write -> write.done.complete(null));
      } catch (IOException | RuntimeException e) {
        fail(batch, e);
      }
    }
    end();
  }

  /** Waits for writes, under INTERVAL until what is written is to be forced. */
  private void take(List<Write> batch) {
    try {
      Write first;
      if (dirty && settings.fsync() == Fsync.INTERVAL) {
        long due = dirtySince + settings.interval().toNanos() - System.nanoTime();
        first = queue.poll(Math.max(due, 0), TimeUnit.NANOSECONDS);
      } else {
        first = queue.take();
      }
      if (first != null) {
        batch.add(first);
        queue.drainTo(batch);
      }
    } catch (InterruptedException e) {
      throw new IllegalStateException("nobody interrupts the thread of a payload log", e);
    }
  }

  private void fail(List<Write> batch, Exception e) {
    if (failure == null) {
      failure = e instanceof IOException io ? io : new IOException(e);
      log.error("{} can't be written; the log takes nothing more", folder, e);
    }
    IOException cause = failure;
    unpublished.clear();
    dirty = false; // What is left of it is never written: there is nothing to wait for.
    batch.forEach(this::finish);
    batch.forEach(write -> write.done.completeExceptionally(cause));
  }

  private void write(List<Write> batch) throws IOException {
    if (failure != null) {
      throw failure;
    }
    for (Write write : batch) {
      append(write);
    }
    drain();
    boolean due =
        switch (settings.fsync()) {
          case ALWAYS -> true;
          case INTERVAL -> System.nanoTime() - dirtySince >= settings.interval().toNanos();
          case NEVER -> false;
        };
    if (due) {
      force();
    }
    unpublished.forEach(index::add);
    unpublished.clear();
    batch.forEach(this::finish);
  }

  private void finish(Write write) {
    unfinished.remove(write.index, write);
    write.release();
  }

  private void append(Write write) throws IOException {
    PayloadRecord head =
        new PayloadRecord(epoch, write.term, write.index, write.reference, settings.fsync());
    if (channel == null || position + head.length() > SEGMENT_BYTES) {
      roll();
      head = new PayloadRecord(epoch, write.term, write.index, write.reference, settings.fsync());
    }
    long begin = position;
    if (staging.remaining() < PayloadRecord.HEADER_BYTES) {
      drain();
    }
    head.write(staging);
    if (write.memory == null || write.payload.size() < STAGING_BYTES) {
      for (ByteBuffer part : write.payload.asReadOnlyByteBufferList()) {
        stage(part);
      }
    } else {
      putPages(write.payload.asReadOnlyByteBuffer());
    }
    int padding = head.length() - PayloadRecord.HEADER_BYTES - write.payload.size();
    stage(ByteBuffer.allocate(padding));
    position = begin + head.length();
    unpublished.add(new PayloadIndex.Location(index.segment(epoch), begin, head));
  }

  /** Writes a payload whose head is staged without a copy: whole pages from where they lie. */
  private void putPages(ByteBuffer payload) throws IOException {
    int first = PayloadRecord.PAGE_BYTES - PayloadRecord.HEADER_BYTES;
    int pages = (payload.remaining() - first) / PayloadRecord.PAGE_BYTES;
    int last = first + pages * PayloadRecord.PAGE_BYTES;
    int end = payload.limit();
    stage(payload.limit(first));
    drain();
    put(payload.limit(last));
    stage(payload.limit(end));
  }

  private void stage(ByteBuffer from) throws IOException {
    while (from.hasRemaining()) {
      if (!staging.hasRemaining()) {
        drain();
      }
      int bytes = Math.min(from.remaining(), staging.remaining());
      staging.put(staging.position(), from, from.position(), bytes);
      staging.position(staging.position() + bytes);
      from.position(from.position() + bytes);
    }
  }

  /** Hands what is staged to the operating system. */
  private void drain() throws IOException {
    put(staging.flip());
    staging.clear();
  }

  private void put(ByteBuffer from) throws IOException {
    if (from.hasRemaining() && !dirty) {
      dirty = true;
      dirtySince = System.nanoTime();
    }
    while (from.hasRemaining()) {
      written += file().write(from, written);
    }
  }

  private FileChannel file() {
    if (channel == null) {
      throw new IllegalStateException("no segment is open");
    }
    return channel;
  }

  private void force() throws IOException {
    if (dirty) {
      settings.forcer().force(file());
      dirty = false;
    }
  }

  /** Begins the next segment, in a file that is needed no more if there is one. */
  private void roll() throws IOException {
    if (channel != null) {
      drain();
      if (settings.fsync() != Fsync.NEVER) {
        force();
      }
      channel.close();
      channel = null;
      dirty = false;
    }
    recycle();
    epoch = index.nextEpoch();
    Path segment = index.segment(epoch);
    List<Path> spares = index.spares();
    if (!spares.isEmpty()) {
      Files.move(spares.getFirst(), segment);
    }
    channel = FileChannel.open(segment, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    index.begin(epoch);
    if (settings.fsync() != Fsync.NEVER) {
      FileTrees.force(folder);
    }
    position = 0;
    written = 0;
  }

  private void recycle() throws IOException {
    int spares = index.spares().size();
    for (long old : index.forget(logStart.getAsLong())) {
      if (spares < SPARES) {
        Files.move(index.segment(old), index.spare(old));
        spares++;
      } else {
        Files.delete(index.segment(old));
      }
    }
  }

  private void end() {
    try (FileChannel closing = channel) {
      if (closing != null && settings.fsync() != Fsync.NEVER && failure == null) {
        force();
      }
    } catch (IOException e) {
      log.warn("a payload segment did not close", e);
    }
  }

  /** Writes what is queued, and closes the files. */
  @Override
  public void close() {
    synchronized (queue) {
      if (closed) {
        return;
      }
      closed = true;
      queue.add(Write.END);
    }
    try {
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
