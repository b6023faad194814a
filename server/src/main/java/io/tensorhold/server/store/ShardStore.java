package io.tensorhold.server.store;

import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.base.RowKey;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiConsumer;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.rocksdb.Checkpoint;
import org.rocksdb.EnvOptions;
import org.rocksdb.FlushOptions;
import org.rocksdb.IngestExternalFileOptions;
import org.rocksdb.Options;
import org.rocksdb.Range;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;
import org.rocksdb.SizeApproximationFlag;
import org.rocksdb.Slice;
import org.rocksdb.SstFileWriter;
import org.rocksdb.Status;
import org.rocksdb.WriteOptions;

/**
 * The durable state of one shard: its blocks, its parameters, and one record with everything else
 * (applied index, sessions).
 *
 * <p>A flush writes all of it as one sorted file that is then ingested: the database shows either
 * the state before the flush or the state after it, and RocksDB's own log is never used.
 */
public final class ShardStore implements AutoCloseable {
  private static final String INGEST_PREFIX = "flush-";

  private final Path directory;
  private final Path staging;
  private final Options options;
  private final RocksDB database;
  private final Predicate<String> onDamage;
  private final Set<StoreScan> scans = ConcurrentHashMap.newKeySet();
  private long flushes;

  /** A block of a flush; {@code memory} null: the block is deleted. */
  public record Write(BlockKey key, @Nullable MemorySegment memory) {}

  /**
   * Opens the database in a directory, which is created if it does not exist.
   *
   * @param staging a directory on the same file system for files that are about to be ingested;
   *     what an earlier process left there is removed
   * @param onDamage is told what is wrong whenever the files turn out to be damaged; answers
   *     whether another replica will mend it
   * @throws StoreException if RocksDB can't open it
   */
  @SuppressWarnings("this-escape")
  public ShardStore(Path directory, Path staging, SharedRocks shared, Predicate<String> onDamage) {
    this.directory = directory;
    this.onDamage = onDamage;
    this.staging = staging;
    this.options = shared.options();
    try {
      Files.createDirectories(directory);
      Files.createDirectories(staging);
      try (Stream<Path> leftovers = Files.list(staging)) {
        for (Path leftover : leftovers.toList()) {
          Files.deleteIfExists(leftover);
        }
      }
      database = RocksDB.open(options, directory.toString());
    } catch (RocksDBException | IOException e) {
      options.close();
      throw failure("can't open the database in " + directory, e);
    }
  }

  /** A store whose damage nobody mends. */
  public ShardStore(Path directory, Path staging, SharedRocks shared) {
    this(directory, staging, shared, damage -> false);
  }

  /** The failure of what the text says; damage of the files is reported. */
  StoreException failure(String what, Exception e) {
    String text = what + ": " + e.getMessage();
    boolean damage = damage(e);
    return new StoreException(text, e, damage, damage && onDamage.test(text));
  }

  /** The failure of a block or a row that is not as it was written; it is reported. */
  StoreException damaged(Record key, String fault) {
    String text =
        "%s %s in %s: %s".formatted(key instanceof RowKey ? "row" : "block", key, directory, fault);
    return new StoreException(text, null, true, onDamage.test(text));
  }

  private static boolean damage(Exception e) {
    if (!(e instanceof RocksDBException rocks) || rocks.getStatus() == null) {
      return false;
    }
    Status.Code code = rocks.getStatus().getCode();
    boolean missing = String.valueOf(e.getMessage()).contains("No such file");
    return code == Status.Code.Corruption || (code == Status.Code.IOError && missing);
  }

  /**
   * Reads a block into memory from {@link OffHeap} that the caller frees; null if there is none.
   *
   * @throws StoreException if the block can't be read or does not match its checksum
   */
  public @Nullable MemorySegment read(BlockKey key, long expectedBytes) {
    MemorySegment memory = OffHeap.allocate(expectedBytes);
    boolean good = false;
    try (ReadOptions read = new ReadOptions().setFillCache(false)) {
      ByteBuffer keyBytes = direct(StoreKeys.block(key));
      int found = database.get(read, keyBytes, memory.asByteBuffer());
      if (found == RocksDB.NOT_FOUND) {
        return null;
      }
      String fault =
          found == expectedBytes
              ? BlockLayout.fault(memory)
              : "a block of %d bytes has %d in the database".formatted(expectedBytes, found);
      if (fault != null) {
        throw damaged(key, fault);
      }
      good = true;
      return memory;
    } catch (RocksDBException e) {
      throw failure("can't read block %s in %s".formatted(key, directory), e);
    } finally {
      if (!good) {
        OffHeap.free(memory);
      }
    }
  }

  /** The record of the shard's state, as last flushed; null before the first flush. */
  public byte @Nullable [] state() {
    try {
      return database.get(StoreKeys.STATE);
    } catch (RocksDBException e) {
      throw failure("can't read the shard's state in " + directory, e);
    }
  }

  /** Gives every stored parameter specification. */
  public void forEachParameter(BiConsumer<Long, byte[]> consumer) {
    try (Slice to = new Slice(StoreKeys.PARAMETERS_TO);
        ReadOptions read = new ReadOptions().setIterateUpperBound(to);
        RocksIterator at = database.newIterator(read)) {
      for (at.seek(StoreKeys.PARAMETERS_FROM); at.isValid(); at.next()) {
        consumer.accept(StoreKeys.parameterId(at.key()), at.value());
      }
      at.status();
    } catch (RocksDBException e) {
      throw failure("can't read the shard's parameters in " + directory, e);
    }
  }

  /** Gives the keys of the stored blocks of a parameter, in order. */
  public void forEachBlock(long parameter, java.util.function.Consumer<BlockKey> consumer) {
    byte[] from = StoreKeys.firstBlock(parameter);
    byte[] end = parameter == -1 ? StoreKeys.STATE : StoreKeys.firstBlock(parameter + 1);
    try (Slice to = new Slice(end);
        ReadOptions read = new ReadOptions().setIterateUpperBound(to);
        RocksIterator at = database.newIterator(read)) {
      for (at.seek(from); at.isValid(); at.next()) {
        consumer.accept(StoreKeys.blockKey(at.key()));
      }
      at.status();
    } catch (RocksDBException e) {
      throw failure("can't list the blocks of a parameter in " + directory, e);
    }
  }

  /**
   * Makes a flush durable, all of it or nothing.
   *
   * @param blocks in the order of their keys; memory unchanged until this returns
   * @param rows of tables; null: none
   * @param state the new state record
   * @param parameters new specifications (value null: deleted) in the order of their ids
   * @throws StoreException if the disk fails; the database is as before
   */
  public void flush(
      Iterator<Write> blocks,
      byte[] state,
      List<java.util.Map.Entry<Long, byte @Nullable []>> parameters,
      @Nullable RowWrites rows) {
    Path file = staging.resolve(INGEST_PREFIX + flushes++ + ".sst");
    try (EnvOptions env = new EnvOptions();
        SstFileWriter writer = new SstFileWriter(env, options);
        IngestExternalFileOptions ingest = new IngestExternalFileOptions().setMoveFiles(true)) {
      writer.open(file.toString());
      while (blocks.hasNext()) {
        Write write = blocks.next();
        byte[] key = StoreKeys.block(write.key());
        if (write.memory() == null) {
          writer.delete(key);
        } else {
          BlockLayout.seal(write.memory());
          writer.put(direct(key), write.memory().asByteBuffer());
        }
      }
      writer.put(StoreKeys.STATE, state);
      for (var parameter : parameters) {
        byte[] key = StoreKeys.parameter(parameter.getKey());
        byte[] value = parameter.getValue();
        if (value == null) {
          writer.delete(key);
        } else {
          writer.put(key, value);
        }
      }
      if (rows != null) {
        write(rows, writer);
      }
      writer.finish();
      database.ingestExternalFile(List.of(file.toString()), ingest);
    } catch (RocksDBException e) {
      throw failure("can't flush to " + directory, e);
    } finally {
      try {
        Files.deleteIfExists(file);
      } catch (IOException leftForTheNextStart) {
        // The staging directory is emptied at the next start.
      }
    }
  }

  private static void write(RowWrites rows, SstFileWriter writer) throws RocksDBException {
    ByteBuffer key = ByteBuffer.allocateDirect(StoreKeys.ROW_BYTES);
    while (rows.next()) {
      RowLayout.seal(rows.row());
      StoreKeys.putRow(key.clear(), rows.table(), rows.key());
      writer.put(key.flip(), rows.row().asByteBuffer());
    }
  }

  /** Rows of a flush, one after another, in the order of their tables (unsigned) and keys. */
  public interface RowWrites {
    /** Goes to the next row; false: there is none. */
    boolean next();

    /** The table of the present row. */
    long table();

    /** The key of the present row. */
    long key();

    /** The bytes of the present row, which nobody else changes; valid until {@link #next}. */
    MemorySegment row();
  }

  /**
   * Deletes all rows of tables that are gone, for good when this returns. It is not atomic with a
   * flush: call it before the flush that says they are gone, so that what a crash in between leaves
   * is a table without rows that the log is about to drop.
   */
  public void deleteRows(Collection<Long> tables) {
    try (WriteOptions write = new WriteOptions().setDisableWAL(true);
        FlushOptions flush = new FlushOptions().setWaitForFlush(true)) {
      for (long table : tables) {
        database.deleteRange(write, StoreKeys.firstRow(table), StoreKeys.rowsEnd(table));
      }
      if (!tables.isEmpty()) {
        database.flush(flush);
      }
    } catch (RocksDBException e) {
      throw failure("can't delete the rows of a table in " + directory, e);
    }
  }

  /**
   * Gives the stored rows of a table, in the order of their keys, until the consumer has enough.
   */
  public void forEachRow(long table, RowVisitor consumer) {
    forEachRow(table, Long.MIN_VALUE, consumer);
  }

  /** The same, from a key on. */
  public void forEachRow(long table, long from, RowVisitor consumer) {
    try (Slice to = new Slice(StoreKeys.rowsEnd(table));
        ReadOptions read = new ReadOptions().setIterateUpperBound(to).setFillCache(false);
        RocksIterator at = database.newIterator(read)) {
      boolean more = true;
      for (at.seek(StoreKeys.row(table, from)); more && at.isValid(); at.next()) {
        MemorySegment row = MemorySegment.ofArray(at.value());
        RowKey key = StoreKeys.rowKey(at.key());
        String fault = RowLayout.fault(row);
        if (fault != null) {
          throw damaged(key, fault);
        }
        more = consumer.visit(key.key(), row);
      }
      at.status();
    } catch (RocksDBException e) {
      throw failure("can't read the rows of a table in " + directory, e);
    }
  }

  /** Takes a stored row; false: no more. */
  public interface RowVisitor {
    /** Takes it; the bytes are the visitor's. */
    boolean visit(long key, MemorySegment row);
  }

  /** Reads rows, many at a time; for one thread at a time. */
  public RowReads rowReads() {
    return new RowReads(this, database);
  }

  /** Bytes of the rows of a table in the table files, as the database estimates them. */
  public long rowBytes(long table) {
    try (Slice from = new Slice(StoreKeys.firstRow(table));
        Slice to = new Slice(StoreKeys.rowsEnd(table))) {
      return database
          .getApproximateSizes(List.of(new Range(from, to)), SizeApproximationFlag.INCLUDE_FILES)[
          0];
    }
  }

  /** Writes a copy of the database, made of hard links, to a directory that does not exist yet. */
  public void checkpoint(Path target) {
    try (Checkpoint checkpoint = Checkpoint.create(database)) {
      checkpoint.createCheckpoint(target.toString());
    } catch (RocksDBException e) {
      throw failure("can't checkpoint " + directory, e);
    }
  }

  /** A walk over what the database holds now; the caller closes it. */
  public StoreScan scan() {
    StoreScan scan = new StoreScan(this, database::newIterator);
    scans.add(scan);
    return scan;
  }

  void ended(StoreScan scan) {
    scans.remove(scan);
  }

  @Override
  public String toString() {
    return directory.toString();
  }

  /** Bytes of the live table files. */
  public long bytes() {
    try {
      return database.getLongProperty("rocksdb.live-sst-files-size");
    } catch (RocksDBException e) {
      throw failure("can't measure " + directory, e);
    }
  }

  @Override
  public void close() {
    scans.forEach(StoreScan::close);
    database.close();
    options.close();
  }

  private static ByteBuffer direct(byte[] bytes) {
    return ByteBuffer.allocateDirect(bytes.length).put(bytes).flip();
  }
}
