package io.tensorhold.server.raft;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.store.SharedRocks;
import io.tensorhold.wire.TlsIdentity;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.statemachine.StateMachine;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * This server's replicas of the catalog and of all shards.
 *
 * <p>Data directory: {@code raft/} holds the logs, {@code catalog/} the catalog's snapshot, {@code
 * shards/NNN/} one shard each (see {@code ShardFiles}).
 */
public final class ClusterNode implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(ClusterNode.class);

  /** An eighth of the memory is left for blocks that readers and flushes hold besides the tier. */
  private static final int HELD_SHARE = 8;

  private static final long HAND_OVER_MILLIS = 2000;

  private final String clusterId;
  private final Server me;
  private final Path dataDirectory;
  private final RaftNode raft;
  private final RaftGroupId catalogGroup;
  private final CatalogReplica catalog;
  private final CatalogStateMachine catalogMachine;
  private final List<ShardReplica> shards = new ArrayList<>();
  private final Map<RaftGroupId, ShardReplica> shardsByGroup = new HashMap<>();
  private final ReplicaFetches fetches;
  private final ShardResources resources;
  private final ShardRepair repair;
  private final ReplicaComparison comparison;
  private final HeldReplicas replicas;
  private final ExecutorService flusher = thread("flush");
  private final ExecutorService comparer = thread("checksum");

  /**
   * The replicas that the data directory holds, not started yet.
   *
   * @param memoryBudget of all shards together, in bytes; each has an equal share of seven eighths
   * @param source where replicas come from that can't be brought up to date by the log
   * @param tls who this server is to the others; null: no TLS
   */
  public ClusterNode(
      String clusterId,
      int shardCount,
      Server me,
      InetSocketAddress raftListen,
      Path dataDirectory,
      long memoryBudget,
      SharedRocks rocks,
      RaftSettings settings,
      ReplicaSource source,
      @Nullable TlsIdentity tls)
      throws IOException {
    this.clusterId = clusterId;
    this.me = me;
    this.dataDirectory = dataDirectory;
    this.catalogGroup = GroupIds.catalog(clusterId);
    this.raft =
        new RaftNode(
            settings, me.getId(), raftListen, dataDirectory.resolve("raft"), this::machineOf, tls);
    this.catalog = new CatalogReplica(raft, catalogGroup);
    this.fetches = new ReplicaFetches(source, this::addressOf);
    this.catalogMachine =
        new CatalogStateMachine(
            dataDirectory.resolve("catalog"),
            catalog.state(),
            fetches,
            () -> raft.cutLog(catalogGroup),
            catalog::changed);
    PayloadLog.Settings payloads =
        new PayloadLog.Settings(settings.fsync(), settings.fsyncInterval(), PayloadLog.Forcer.DISK);
    this.resources =
        new ShardResources(
            rocks,
            (memoryBudget - memoryBudget / HELD_SHARE) / shardCount,
            settings::flushDue,
            flusher,
            comparer,
            fetches,
            () -> new ShardPayloads(payloads, settings.payloadsBeside()));
    for (int shard = 0; shard < shardCount; shard++) {
      RaftGroupId group = GroupIds.shard(clusterId, shard);
      shards.add(new ShardReplica(raft, shard, group, newMachine(shard, group)));
      shardsByGroup.put(group, shards.getLast());
    }
    this.repair =
        new ShardRepair(
            raft,
            new LogFolders(dataDirectory.resolve("raft")),
            settings.fsync(),
            shards,
            fetches,
            () -> catalog.state().map().getShardsCount() > 0,
            this::peersOf,
            shard -> newMachine(shard.shard(), shard.group()));
    this.comparison =
        new ReplicaComparison(
            me.getId(),
            shards,
            source,
            this::addressOf,
            settings.compareInterval(),
            System::nanoTime);
    this.replicas = new HeldReplicas(raft, catalogGroup, catalogMachine, shards);
  }

  private static ExecutorService thread(String name) {
    return Executors.newSingleThreadExecutor(Thread.ofPlatform().name(name).daemon().factory());
  }

  private ShardStateMachine newMachine(int shard, RaftGroupId group) {
    return new ShardStateMachine(
        shard,
        dataDirectory.resolve("shards").resolve("%03d".formatted(shard)),
        resources,
        () -> raft.cutLog(group),
        damage -> hasPeers(shard, group));
  }

  /** Whether another server holds the shard, as its own log says or else the catalog. */
  private boolean hasPeers(int shard, RaftGroupId group) {
    try {
      return raft.holds(group) ? raft.members(group).size() > 1 : !peersOf(shard).isEmpty();
    } catch (IOException e) {
      return false;
    }
  }

  private StateMachine machineOf(RaftGroupId group) {
    if (group.equals(catalogGroup)) {
      return catalogMachine;
    }
    ShardReplica shard = shardsByGroup.get(group);
    if (shard == null) {
      throw new IllegalArgumentException("no group of this cluster: " + group);
    }
    return shard.stateMachine();
  }

  private @Nullable String addressOf(String serverId) {
    return catalog.state().map().getServersList().stream()
        .filter(server -> server.getId().equals(serverId))
        .map(Server::getAddress)
        .findFirst()
        .orElse(null);
  }

  /** The other servers that hold a shard, as the catalog says; none before it is loaded. */
  private List<String> peersOf(int shard) {
    ClusterMap map = catalog.state().map();
    return map.getShardsCount() <= shard
        ? List.of()
        : map.getShards(shard).getReplicasList().stream()
            .filter(id -> !id.equals(me.getId()))
            .toList();
  }

  /** Starts the replicas that are on disk. */
  public void start() throws IOException {
    new LogFolders(dataDirectory.resolve("raft")).cutTornTails();
    repair.inspect();
    raft.start();
    repair.start();
    comparison.start();
  }

  /** This server's replicas, as other servers copy and compare them. */
  public HeldReplicas replicas() {
    return replicas;
  }

  /**
   * Makes this server the only member of a new cluster's groups; goes on where an earlier process
   * was killed while it did so. A lone server whose address has changed says so.
   */
  public void found(int replication) throws IOException {
    raft.found(catalogGroup, me);
    for (ShardReplica shard : shards) {
      if (shard.stateMachine().damage() == null) {
        raft.found(shard.group(), me);
      }
    }
    awaitLeading(catalogGroup);
    if (catalog.state().map().getClusterId().isEmpty()) {
      CatalogCommand.Builder command = CatalogCommand.newBuilder();
      command
          .getFoundBuilder()
          .setClusterId(clusterId)
          .setShardCount(shards.size())
          .setReplication(replication)
          .setServer(me);
      catalog.append(command.build()).join();
    } else if (!catalog.state().map().getServersList().contains(me)) {
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
    for (RaftGroupId group : groups()) {
      if (raft.holds(group) && raft.members(group).equals(alone)) {
        awaitLeading(group);
      }
    }
  }

  private List<RaftGroupId> groups() {
    List<RaftGroupId> groups = new ArrayList<>(shardsByGroup.keySet());
    groups.add(catalogGroup);
    return groups;
  }

  /**
   * Hands everything over that this server leads, so that nobody waits for an election when it
   * stops.
   */
  public void handOver() {
    try (ExecutorService all = Executors.newVirtualThreadPerTaskExecutor()) {
      groups().forEach(group -> all.execute(() -> handOver(group)));
    }
  }

  private void handOver(RaftGroupId group) {
    try {
      raft.handOver(group, HAND_OVER_MILLIS);
    } catch (IOException e) {
      log.info("group {} is left to an election: {}", group, e.getMessage());
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
    for (ShardReplica shard : shards) {
      if (change("shard " + shard.shard(), shard.group(), members, spread)) {
        spread.changedShards.add(shard.shard());
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
    raft.transfer(shards.get(shard).group(), serverId, RaftNode.ADMIN_TIMEOUT_MS);
  }

  /** Brings every shard to disk, so that the next start has little to replay. */
  public void flush() {
    for (ShardReplica shard : shards) {
      if (raft.holds(shard.group())) {
        shard.stateMachine().flush();
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

  /** Id of the cluster. */
  public String clusterId() {
    return clusterId;
  }

  /** This server. */
  public Server me() {
    return me;
  }

  /** Bytes of the databases on disk. */
  public long storedBytes() {
    long bytes = 0;
    for (ShardReplica shard : shards) {
      bytes += shard.stateMachine().storedBytes();
    }
    return bytes;
  }

  @Override
  public void close() throws IOException {
    comparison.close();
    comparer.shutdownNow();
    repair.close();
    fetches.close();
    raft.close();
    flusher.shutdown();
    try {
      if (!flusher.awaitTermination(60, TimeUnit.SECONDS)) {
        throw new IOException("a flush did not end within 60 s");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    for (ShardReplica shard : shards) {
      shard.stateMachine().close();
    }
  }
}
