package io.tensorhold.server.raft;

import com.google.protobuf.InvalidProtocolBufferException;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.SharedRocks;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.statemachine.StateMachine;

/**
 * This server's replicas of the catalog and of all shards.
 *
 * <p>Data directory: {@code raft/} holds the logs, {@code catalog/} the catalog's snapshot, {@code
 * shards/NNN/} one shard each (see {@code ShardFiles}).
 */
public final class ClusterNode implements AutoCloseable {
  private static final long CATCH_UP_SECONDS = 5;

  /** An eighth of the memory is left for blocks that readers and flushes hold besides the tier. */
  private static final int HELD_SHARE = 8;

  private final String clusterId;
  private final Server me;
  private final RaftNode raft;
  private final RaftGroupId catalogGroup;
  private final CatalogState catalogState = new CatalogState();
  private final CatalogView catalog = new CatalogView();
  private final List<ShardView> shards = new ArrayList<>();
  private final Map<RaftGroupId, StateMachine> machines = new HashMap<>();
  private final ExecutorService flusher =
      Executors.newSingleThreadExecutor(
          task -> {
            Thread thread = new Thread(task, "flush");
            thread.setDaemon(true);
            return thread;
          });

  /**
   * The replicas that the data directory holds, not started yet.
   *
   * @param memoryBudget of all shards together, in bytes; each has an equal share of seven eighths
   */
  public ClusterNode(
      String clusterId,
      int shardCount,
      Server me,
      InetSocketAddress raftListen,
      Path dataDirectory,
      long memoryBudget,
      SharedRocks rocks,
      RaftSettings settings)
      throws IOException {
    this.clusterId = clusterId;
    this.me = me;
    this.catalogGroup = GroupIds.catalog(clusterId);
    machines.put(
        catalogGroup,
        new CatalogStateMachine(
            dataDirectory.resolve("catalog"),
            catalogState,
            () -> raft().cutLog(catalogGroup),
            catalog::changed));
    for (int shard = 0; shard < shardCount; shard++) {
      RaftGroupId group = GroupIds.shard(clusterId, shard);
      ShardStateMachine machine =
          new ShardStateMachine(
              shard,
              dataDirectory.resolve("shards").resolve("%03d".formatted(shard)),
              rocks,
              (memoryBudget - memoryBudget / HELD_SHARE) / shardCount,
              settings.flushLogBytes(),
              flusher,
              () -> raft().cutLog(group));
      machines.put(group, machine);
      shards.add(new ShardView(shard, group, machine));
    }
    raft =
        new RaftNode(
            settings,
            me.getId(),
            raftListen,
            dataDirectory.resolve("raft"),
            group -> {
              StateMachine machine = machines.get(group);
              if (machine == null) {
                throw new IllegalArgumentException("no group of this cluster: " + group);
              }
              return machine;
            });
  }

  private RaftNode raft() {
    return raft;
  }

  /** Starts the replicas that are on disk. */
  public void start() throws IOException {
    raft.start();
  }

  /**
   * Makes this server the only member of a new cluster's groups; goes on where an earlier process
   * was killed while it did so. A lone server whose address has changed says so.
   */
  public void found(int replication) throws IOException {
    raft.found(catalogGroup, me);
    for (ShardView shard : shards) {
      raft.found(shard.group, me);
    }
    awaitLeading(catalogGroup);
    if (catalogState.map().getClusterId().isEmpty()) {
      CatalogCommand.Builder command = CatalogCommand.newBuilder();
      command
          .getFoundBuilder()
          .setClusterId(clusterId)
          .setShardCount(shards.size())
          .setReplication(replication)
          .setServer(me);
      catalog.append(command.build()).join();
    } else if (!catalogState.map().getServersList().contains(me)) {
      catalog.append(CatalogCommand.newBuilder().setJoin(me).build()).join();
    }
  }

  /** Whether this server is a member of no catalog, or the only member of its own. */
  public boolean alone() throws IOException {
    return !raft.holds(catalogGroup) || raft.members(catalogGroup).equals(List.of(me.getId()));
  }

  /** Whether this server holds a replica of the catalog. */
  public boolean member() {
    return raft.holds(catalogGroup);
  }

  /** Waits until this server leads the groups that have no other member. */
  public void awaitLoneGroups() throws IOException {
    List<String> alone = List.of(me.getId());
    for (RaftGroupId group : machines.keySet()) {
      if (raft.holds(group) && raft.members(group).equals(alone)) {
        awaitLeading(group);
      }
    }
  }

  private void awaitLeading(RaftGroupId group) throws IOException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (!raft.leadership(group).leads()) {
      if (System.nanoTime() > deadline) {
        throw new IOException("this server did not become its own leader within 60 s");
      }
      java.util.concurrent.locks.LockSupport.parkNanos(5_000_000);
    }
  }

  /**
   * What {@link #spread} did.
   *
   * @param changedShards shards led from here whose members have changed now
   * @param failures what went wrong, by group
   */
  public record Spread(List<Integer> changedShards, Map<String, String> failures) {}

  /**
   * Makes the servers the members of every group that this server leads. Idempotent; a group whose
   * joiners can't be reached is left for the next call.
   */
  public Spread spread(List<Server> members) {
    Spread spread = new Spread(new ArrayList<>(), new LinkedHashMap<>());
    change("catalog", catalogGroup, members, spread);
    for (ShardView shard : shards) {
      if (change("shard " + shard.shard, shard.group, members, spread)) {
        spread.changedShards.add(shard.shard);
      }
    }
    return spread;
  }

  private boolean change(String name, RaftGroupId group, List<Server> members, Spread spread) {
    try {
      if (!raft.leadership(group).leads()) {
        return false;
      }
      List<String> now = raft.members(group);
      List<String> wanted = members.stream().map(Server::getId).sorted().toList();
      if (now.equals(wanted)) {
        return false;
      }
      for (Server member : members) {
        if (!now.contains(member.getId())) {
          raft.prepare(group, member);
        }
      }
      raft.reconfigure(group, members);
      return true;
    } catch (IOException e) {
      spread.failures.put(name, String.valueOf(e.getMessage()));
      return false;
    }
  }

  /** Hands the leadership of a shard that this server leads to another replica. */
  public void transfer(int shard, String serverId) throws IOException {
    raft.transfer(shards.get(shard).group, serverId);
  }

  /** Brings every shard to disk, so that the next start has little to replay. */
  public void flush() {
    for (ShardView shard : shards) {
      if (raft.holds(shard.group)) {
        shard.machine.flush();
      }
    }
  }

  /** The catalog. */
  public CatalogLog catalog() {
    return catalog;
  }

  /** A shard of the cluster, whether or not this server holds a replica. */
  public ShardLog shard(int shard) {
    return shards.get(shard);
  }

  /** Shards of the cluster. */
  public int shardCount() {
    return shards.size();
  }

  /** This server. */
  public Server me() {
    return me;
  }

  /** Bytes of the databases on disk. */
  public long storedBytes() {
    long bytes = 0;
    for (ShardView shard : shards) {
      bytes += shard.machine.storedBytes();
    }
    return bytes;
  }

  @Override
  public void close() throws IOException {
    raft.close();
    flusher.shutdown();
    try {
      if (!flusher.awaitTermination(60, TimeUnit.SECONDS)) {
        throw new IOException("a flush did not end within 60 s");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    for (StateMachine machine : machines.values()) {
      machine.close();
    }
  }

  private final class ShardView implements ShardLog {
    private final int shard;
    private final RaftGroupId group;
    private final ShardStateMachine machine;

    ShardView(int shard, RaftGroupId group, ShardStateMachine machine) {
      this.shard = shard;
      this.group = group;
      this.machine = machine;
    }

    @Override
    public int shard() {
      return shard;
    }

    @Override
    public CompletableFuture<Appended> append(byte[] entry) {
      return raft.append(group, entry, this::leadership);
    }

    @Override
    public CompletableFuture<Void> fence() {
      return raft.fence(group, this::leadership);
    }

    @Override
    public Leadership leadership() {
      return raft.leadership(group);
    }

    @Override
    public List<String> members() {
      try {
        return raft.holds(group) ? raft.members(group) : List.of();
      } catch (IOException e) {
        return List.of();
      }
    }

    @Override
    public ShardMachine machine() {
      ShardMachine now = machine.machine();
      if (now == null) {
        throw new Refusal(
            Reason.UNAVAILABLE, "this server's replica of shard %d is not ready".formatted(shard));
      }
      return now;
    }
  }

  private final class CatalogView implements CatalogLog {
    private record Waiter(BooleanSupplier condition, CompletableFuture<Void> done) {}

    private final List<Waiter> waiters = new ArrayList<>();

    @Override
    public CompletableFuture<CatalogReply> append(CatalogCommand command) {
      return raft.append(catalogGroup, command.toByteArray(), this::leadership)
          .thenApply(
              appended -> {
                CatalogReply reply;
                try {
                  reply = CatalogReply.parseFrom(appended.reply());
                } catch (InvalidProtocolBufferException e) {
                  throw new IllegalStateException(e);
                }
                if (reply.hasRefused()) {
                  CatalogReply.Refused refused = reply.getRefused();
                  List<Object> details = new ArrayList<>();
                  refused
                      .getDetailsMap()
                      .forEach(
                          (key, value) -> {
                            details.add(key);
                            details.add(value);
                          });
                  throw new Refusal(
                      Reason.valueOf(refused.getReason()), refused.getMessage(), details.toArray());
                }
                return reply;
              });
    }

    @Override
    public CompletableFuture<Void> fence() {
      return raft.fence(catalogGroup, this::leadership);
    }

    @Override
    public CompletableFuture<Void> until(BooleanSupplier condition) {
      CompletableFuture<Void> done = new CompletableFuture<>();
      synchronized (waiters) {
        if (!condition.getAsBoolean()) {
          waiters.add(new Waiter(condition, done));
          return done.orTimeout(CATCH_UP_SECONDS, TimeUnit.SECONDS);
        }
      }
      done.complete(null);
      return done;
    }

    void changed() {
      List<Waiter> ended = new ArrayList<>();
      synchronized (waiters) {
        waiters.removeIf(
            waiter -> {
              boolean over = waiter.done.isDone() || waiter.condition.getAsBoolean();
              if (over) {
                ended.add(waiter);
              }
              return over;
            });
      }
      ended.forEach(waiter -> waiter.done.complete(null));
    }

    @Override
    public Leadership leadership() {
      return raft.leadership(catalogGroup);
    }

    @Override
    public CatalogState state() {
      return catalogState;
    }
  }
}
