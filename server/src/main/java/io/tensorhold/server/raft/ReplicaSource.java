package io.tensorhold.server.raft;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.OptionalLong;
import org.jspecify.annotations.Nullable;

/** Other servers' replicas, as this server reaches them. */
public interface ReplicaSource {
  /** Takes bytes of a file, in order. */
  interface Sink {
    /** Takes the next bytes. */
    void write(ByteBuffer bytes) throws IOException;
  }

  /** host:port of a server that this server's own catalog does not know; null if nobody does. */
  @Nullable String addressOf(String serverId);

  /**
   * Asks a server for a copy of its replica.
   *
   * @param shard its number, or {@link ReplicaCopy#CATALOG}
   * @param minIndex the copy holds the log's entries at least up to here
   * @param begun the id of the copy that was fetched in part before, or ""
   * @throws IOException if it can't give one now
   */
  ReplicaCopy open(String address, int shard, long minIndex, String begun) throws IOException;

  /**
   * Asks a server for the checksum of its replica at the index of a COMPARE entry; empty: it has
   * none yet.
   *
   * @param agreed what most replicas have there, if known: one that has another mends itself
   * @throws IOException if it does not answer, or holds no replica
   */
  OptionalLong compare(String address, int shard, long index, OptionalLong agreed)
      throws IOException;

  /**
   * Reads a file of a copy, from an offset to its end.
   *
   * @return the CRC-32C of the whole file, as the other server computed it
   * @throws IOException if the transfer breaks; what the sink took is good
   */
  int read(String address, int shard, String copy, String file, long offset, Sink sink)
      throws IOException;
}
