package io.tensorhold.server.store;

import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.CompressionType;
import org.rocksdb.DataBlockIndexType;
import org.rocksdb.Env;
import org.rocksdb.IndexType;
import org.rocksdb.InfoLogLevel;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.WriteBufferManager;

/**
 * What all databases of a server share, so that their memory has one bound: block cache and write
 * buffers.
 *
 * <p>Blocks are written by ingestion and read into the memory tier, so the cache holds little more
 * than index and filter blocks. Those are in parts of a few kilobytes, because a file of a table's
 * rows has megabytes of them: whole, they would push each other out at every look-up. Data blocks
 * are small for the same look-ups; a block of a tensor is a data block of its own anyway.
 */
public final class SharedRocks implements AutoCloseable {
  private static final long WRITE_BUFFER_BYTES = 4L << 20;
  private static final long TARGET_FILE_BYTES = 256L << 20;
  private static final long LEVEL_BASE_BYTES = 1L << 30;

  static {
    RocksDB.loadLibrary();
  }

  private final Cache cache;
  private final WriteBufferManager writeBuffers;
  private final BloomFilter bloom = new BloomFilter(10);

  /** Shared parts with a block cache of so many bytes. */
  public SharedRocks(long cacheBytes) {
    cache = new LRUCache(cacheBytes);
    writeBuffers = new WriteBufferManager(WRITE_BUFFER_BYTES * 4, cache);
  }

  Options options() {
    BlockBasedTableConfig table =
        new BlockBasedTableConfig()
            .setBlockCache(cache)
            .setBlockSize(4 << 10)
            .setDataBlockIndexType(DataBlockIndexType.kDataBlockBinaryAndHash)
            .setFilterPolicy(bloom)
            .setIndexType(IndexType.kTwoLevelIndexSearch)
            .setPartitionFilters(true)
            .setPinTopLevelIndexAndFilter(true)
            .setCacheIndexAndFilterBlocks(true)
            .setFormatVersion(5);
    return new Options()
        .setCreateIfMissing(true)
        .setEnv(Env.getDefault())
        .setWriteBufferManager(writeBuffers)
        .setWriteBufferSize(WRITE_BUFFER_BYTES)
        .setCompressionType(CompressionType.NO_COMPRESSION)
        .setTargetFileSizeBase(TARGET_FILE_BYTES)
        .setMaxBytesForLevelBase(LEVEL_BASE_BYTES)
        .setLevelCompactionDynamicLevelBytes(true)
        .setBytesPerSync(1 << 20)
        .setUseDirectIoForFlushAndCompaction(true)
        .setMaxOpenFiles(256)
        .setMaxBackgroundJobs(2)
        .setKeepLogFileNum(2)
        .setInfoLogLevel(InfoLogLevel.WARN_LEVEL)
        .setStatsDumpPeriodSec(0)
        .setTableFormatConfig(table);
  }

  @Override
  public void close() {
    bloom.close();
    writeBuffers.close();
    cache.close();
  }
}
