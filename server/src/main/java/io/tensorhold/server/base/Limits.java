package io.tensorhold.server.base;

/**
 * Bounds that are part of the protocol or of the data format; each is named in the error it causes.
 */
public final class Limits {
  /** Bytes of a model's or parameter's name in UTF-8. */
  public static final int NAME_BYTES = 512;

  /** Parameters of one model. */
  public static final int PARAMETERS = 100_000;

  /** Bytes of a model's metadata, keys and values together. */
  public static final int METADATA_BYTES = 1 << 20;

  /** Elements of a block: 2 MiB of f32, 6 MiB with the state of Adam, must fit a log entry. */
  public static final int BLOCK_ELEMENTS = 1 << 19;

  /** Blocks named by one push. */
  public static final int PUSH_BLOCKS = 4096;

  /** Alternating gaps and lengths of one block's part of a push. */
  public static final int BLOCK_RUNS = 1 << 16;

  /** Payload bytes of one push. */
  public static final int PUSH_BYTES = 4 << 20;

  /** Bytes of one push as f32, which a bulk synchronous step holds for each rank. */
  public static final int PUSH_DECODED_BYTES = 32 << 20;

  /**
   * Bytes of a log entry, headers included. Ratis makes a leader step down over an entry that does
   * not fit its message, so pushes are held against this one before they are appended.
   */
  public static final int ENTRY_BYTES = 7 << 20;

  /** Bytes of a log entry past which no further push joins it. */
  public static final int ENTRY_TARGET_BYTES = 1 << 20;

  /** Bytes of stored blocks, weights and optimizer state, that the pushes of one entry touch. */
  public static final long TOUCHED_BYTES = 96L << 20;

  /** Elements of a table's row. */
  public static final int TABLE_DIM = 1 << 14;

  /** Rows named by one message. */
  public static final int MESSAGE_ROWS = 1 << 16;

  /** Bytes of the rows in one answer. */
  public static final int PULL_ROWS_BYTES = 4 << 20;

  /** Rows of one message of a scan, and their bytes; 256 more may come. */
  public static final int SCAN_ROWS = 1 << 14;

  public static final int SCAN_BYTES = 1 << 20;

  /** Scans of tables that a server does at once. */
  public static final int SCANS = 16;

  /** Ranks of a model. */
  public static final int WORKERS = 4096;

  /** Parts of one rank's step on one shard. */
  public static final int STEP_PARTS = 1 << 16;

  /** Workers' sessions that are live at once, all models together. */
  public static final int WORKER_SESSIONS = 1 << 16;

  /** Workers' sessions that ended and are refused by number; those before are refused by rank. */
  public static final int ENDED_SESSIONS = 4096;

  /** Steps that a worker of a stale synchronous model may be ahead. */
  public static final int STALENESS = 1_000_000;

  /** Milliseconds of a lease, least, default and most. */
  public static final int LEASE_MIN_MS = 1000;

  public static final int LEASE_DEFAULT_MS = 15_000;
  public static final int LEASE_MAX_MS = 3_600_000;

  /** Milliseconds until a rank is late, default and most. */
  public static final int STRAGGLER_DEFAULT_MS = 30_000;

  public static final int STRAGGLER_MAX_MS = 86_400_000;

  /** Sessions that a shard remembers; past it the one that pushed longest ago is forgotten. */
  public static final int SESSIONS = 4096;

  /** Applied pushes of one session above its acknowledged low-water mark. */
  public static final int SESSION_WINDOW = 1 << 16;

  /** Shards of a cluster. */
  public static final int SHARDS = 256;

  private Limits() {}
}
