package io.tensorhold.server.raft;

import io.tensorhold.server.base.Limits;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.ratis.conf.RaftProperties;
import org.apache.ratis.grpc.GrpcConfigKeys;
import org.apache.ratis.server.RaftServerConfigKeys;
import org.apache.ratis.util.SizeInBytes;
import org.apache.ratis.util.TimeDuration;

/**
 * How the log replicates.
 *
 * @param electionTimeoutMin a follower that hears nothing for this long asks for votes; shorter
 *     means a faster failover, and needless elections on a loaded machine. Loaded hosts: 1 to 10 s
 * @param electionTimeoutMax upper end of the random choice; at least the minimum
 * @param flushLogBytes log of a shard that is written before its dirty blocks are flushed and the
 *     log is cut, unless the flush would write much more: see {@link #flushDue}. More means fewer
 *     writes of a block that changes often, and a longer replay
 * @param keepEntries entries that stay in the log after a flush, for followers that are a little
 *     behind; one that is further behind gets the whole database
 * @param compareInterval from the end of one comparison of a shard's replicas to the next; zero:
 *     they are not compared. Each reads all that a replica has on disk
 * @param fsync when the log is brought to disk
 * @param fsyncInterval longest time from an acknowledgement to that, under {@link Fsync#INTERVAL}
 * @param payloadsBeside whether large entries are written beside Ratis's log; those that are there
 *     are read either way
 */
public record RaftSettings(
    Duration electionTimeoutMin,
    Duration electionTimeoutMax,
    long flushLogBytes,
    int keepEntries,
    Duration compareInterval,
    Fsync fsync,
    Duration fsyncInterval,
    boolean payloadsBeside) {

  /** For hosts that are not overloaded. */
  public static final RaftSettings DEFAULT =
      new RaftSettings(
          Duration.ofMillis(500),
          Duration.ofSeconds(1),
          64L << 20,
          64,
          Duration.ofMinutes(10),
          Fsync.ALWAYS,
          Duration.ofSeconds(1),
          true);

  /** What a flush may write is this part of the log since the last one, at most. */
  private static final int FLUSH_SHARE = 4;

  /** Of Ratis's log, which holds references; with their filler, about 64 MiB of entries. */
  private static final SizeInBytes SEGMENT = SizeInBytes.valueOf("256KB");

  /** A server that just started asks early; it gets no votes where a leader lives. */
  private static final TimeDuration FIRST_ELECTION_MIN =
      TimeDuration.valueOf(150, TimeUnit.MILLISECONDS);

  private static final TimeDuration READ_TIMEOUT = TimeDuration.valueOf(10, TimeUnit.SECONDS);

  private static final TimeDuration FIRST_ELECTION_MAX =
      TimeDuration.valueOf(300, TimeUnit.MILLISECONDS);

  /** Checks the relations between the values. */
  public RaftSettings {
    if (electionTimeoutMin.isNegative()
        || electionTimeoutMin.isZero()
        || electionTimeoutMax.compareTo(electionTimeoutMin) < 0) {
      throw new IllegalArgumentException(
          "raft.election-timeout: min=%s max=%s; 0 < min <= max"
              .formatted(electionTimeoutMin, electionTimeoutMax));
    }
    if (flushLogBytes < Limits.ENTRY_BYTES) {
      throw new IllegalArgumentException(
          "raft.flush-log-bytes: value=%d allowed=at least %d"
              .formatted(flushLogBytes, Limits.ENTRY_BYTES));
    }
    if (keepEntries < 0) {
      throw new IllegalArgumentException(
          "raft.keep-entries: value=%d allowed=0 or more".formatted(keepEntries));
    }
    if (compareInterval.isNegative()) {
      throw new IllegalArgumentException(
          "raft.compare-interval: value=%d allowed=0 or more milliseconds"
              .formatted(compareInterval.toMillis()));
    }
    if (fsyncInterval.isNegative() || fsyncInterval.isZero()) {
      throw new IllegalArgumentException(
          "raft.fsync-interval: value=%d allowed=1 or more milliseconds"
              .formatted(fsyncInterval.toMillis()));
    }
  }

  /**
   * Whether so many dirty blocks are to be flushed after so much log. A step of training changes
   * all blocks of a model with their optimizer state: to write them at most as often as {@value
   * #FLUSH_SHARE} times their bytes were logged, the log may become {@value #FLUSH_SHARE} times as
   * long.
   */
  boolean flushDue(long logBytes, long dirtyBytes) {
    return logBytes > flushLogBytes && logBytes > FLUSH_SHARE * Math.min(flushLogBytes, dirtyBytes);
  }

  RaftProperties properties(Path directory, InetSocketAddress listen) {
    final SizeInBytes entry = SizeInBytes.valueOf(Limits.ENTRY_BYTES + (1L << 20));
    RaftProperties p = new RaftProperties();
    RaftServerConfigKeys.setStorageDir(p, List.of(directory.toFile()));
    RaftServerConfigKeys.setRemovedGroupsDir(p, directory.resolve("removed").toFile());
    GrpcConfigKeys.Server.setHost(p, listen.getHostString());
    GrpcConfigKeys.Server.setPort(p, listen.getPort());
    GrpcConfigKeys.setMessageSizeMax(p, SizeInBytes.valueOf("16MB"));
    RaftServerConfigKeys.Rpc.setTimeoutMin(p, time(electionTimeoutMin));
    RaftServerConfigKeys.Rpc.setTimeoutMax(p, time(electionTimeoutMax));
    RaftServerConfigKeys.Rpc.setFirstElectionTimeoutMin(p, FIRST_ELECTION_MIN);
    RaftServerConfigKeys.Rpc.setFirstElectionTimeoutMax(p, FIRST_ELECTION_MAX);
    RaftServerConfigKeys.Rpc.setRequestTimeout(p, TimeDuration.valueOf(10, TimeUnit.SECONDS));
    RaftServerConfigKeys.LeaderElection.setMemberMajorityAdd(p, true);
    RaftServerConfigKeys.Log.setSegmentSizeMax(p, payloadsBeside ? SEGMENT : entry);
    RaftServerConfigKeys.Log.setPreallocatedSize(
        p, payloadsBeside ? SEGMENT : SizeInBytes.valueOf("1MB"));
    // Without it Ratis truncates at offsets that count the payloads, which its files do not hold.
    RaftServerConfigKeys.Log.StateMachineData.setCachingEnabled(p, true);
    RaftServerConfigKeys.Log.StateMachineData.setReadTimeout(p, READ_TIMEOUT);
    // Acknowledges before its own fsync; that one goes on in the background.
    RaftServerConfigKeys.Log.setUnsafeFlushEnabled(p, fsync != Fsync.ALWAYS);
    RaftServerConfigKeys.Log.setWriteBufferSize(p, SizeInBytes.valueOf(entry.getSize() + 64));
    RaftServerConfigKeys.Log.setSegmentCacheNumMax(p, payloadsBeside ? 4 : 1);
    RaftServerConfigKeys.Log.setSegmentCacheSizeMax(p, entry);
    RaftServerConfigKeys.Log.setQueueByteLimit(p, SizeInBytes.valueOf("64MB"));
    RaftServerConfigKeys.Log.setPurgeUptoSnapshotIndex(p, true);
    RaftServerConfigKeys.Log.setPurgePreservationLogNum(p, keepEntries);
    RaftServerConfigKeys.Log.setPurgeGap(p, 64);
    RaftServerConfigKeys.Log.setAppendEntriesComposeEnabled(p, false);
    RaftServerConfigKeys.Log.setLogMetadataEnabled(p, false);
    RaftServerConfigKeys.Log.Appender.setBufferByteLimit(p, entry);
    RaftServerConfigKeys.Log.Appender.setInstallSnapshotEnabled(p, false);
    RaftServerConfigKeys.Log.Appender.setRetryPolicy(p, retryPolicy());
    RaftServerConfigKeys.Write.setByteLimit(p, SizeInBytes.valueOf("64MB"));
    RaftServerConfigKeys.RetryCache.setExpiryTime(p, TimeDuration.valueOf(10, TimeUnit.SECONDS));
    RaftServerConfigKeys.Snapshot.setTriggerWhenStopEnabled(p, false);
    RaftServerConfigKeys.Read.setOption(p, RaftServerConfigKeys.Read.Option.LINEARIZABLE);
    RaftServerConfigKeys.Read.setLeaderLeaseEnabled(p, true);
    return p;
  }

  /**
   * How long a leader waits before it tries again to send to a follower that failed: for the first
   * ten times hardly, then for a fifth of the time between heartbeats.
   *
   * <p>It must be shorter than that time. A leader that slept through it sends a heartbeat and no
   * entry, and a follower whose database is ahead of its log answers heartbeats with an
   * inconsistency that says nothing of where to go on: only an entry makes it say so. With Ratis'
   * own waits of one and five seconds such a follower is never reached again.
   */
  private String retryPolicy() {
    long millis = Math.max(1, electionTimeoutMin.toMillis() / 10);
    return "1ms,10, %dms,%d".formatted(millis, Integer.MAX_VALUE - 10);
  }

  private static TimeDuration time(Duration duration) {
    return TimeDuration.valueOf(duration.toMillis(), TimeUnit.MILLISECONDS);
  }
}
