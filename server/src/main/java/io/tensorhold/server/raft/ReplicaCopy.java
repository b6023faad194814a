package io.tensorhold.server.raft;

import java.util.List;

/**
 * A replica as files that can be fetched from the server which holds it.
 *
 * @param id names the copy at that server
 * @param index of the last log entry that the files hold
 * @param term of that entry
 */
public record ReplicaCopy(String id, long term, long index, List<File> files) {
  /** The catalog, where a shard's number is asked for. */
  public static final int CATALOG = -1;

  /** A file without folders in its name, and its length. */
  public record File(String name, long bytes) {}
}
