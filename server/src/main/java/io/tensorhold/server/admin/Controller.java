package io.tensorhold.server.admin;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.EntryBytes;
import io.tensorhold.server.shard.ShardMachine;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What brings the cluster to the state that the catalog describes: replicas on the servers that
 * hold them, blocks of deleted models freed.
 *
 * <p>It looks at the difference between what is and what should be, again and again, and every step
 * is harmless to repeat; so it needs no memory of its own, and a new leader simply goes on.
 */
public final class Controller implements AutoCloseable {
  private static final Logger log = LoggerFactory.getLogger(Controller.class);
  private static final long PERIOD_MILLIS = 500;

  private final ClusterNode node;
  private final Set<Integer> handedOver = new HashSet<>();
  private String lastTrouble = "";
  private final ScheduledExecutorService loop =
      Executors.newSingleThreadScheduledExecutor(
          task -> {
            Thread thread = new Thread(task, "controller");
            thread.setDaemon(true);
            return thread;
          });

  /** A controller of what this server leads. */
  public Controller(ClusterNode node) {
    this.node = node;
  }

  /** Starts looking. */
  public void start() {
    var _ = loop.scheduleWithFixedDelay(this::look, 0, PERIOD_MILLIS, TimeUnit.MILLISECONDS);
  }

  private void look() {
    try {
      place();
      spread();
      free();
      trouble("");
    } catch (Refusal | CompletionException e) {
      trouble(String.valueOf(e.getMessage()));
    } catch (RuntimeException e) {
      log.error("the controller failed; it tries again", e);
    }
  }

  private void trouble(String text) {
    if (!text.equals(lastTrouble) && !text.isEmpty()) {
      log.warn("the cluster is not as the catalog says yet: {}", text);
    }
    lastTrouble = text;
  }

  /** Decides who holds replicas, once there are servers enough. */
  private void place() {
    CatalogState catalog = node.catalog().state();
    ClusterMap map = catalog.map();
    if (map.getShardsCount() == 0 || !node.catalog().leadership().leads()) {
      return;
    }
    List<String> now = map.getShards(0).getReplicasList();
    int wanted = map.getReplication();
    if (now.size() < wanted && map.getServersCount() >= wanted) {
      List<String> members = new ArrayList<>(now);
      for (Server server : map.getServersList()) {
        if (members.size() < wanted && !members.contains(server.getId())) {
          members.add(server.getId());
        }
      }
      CatalogCommand.Builder command = CatalogCommand.newBuilder();
      command.getPlaceBuilder().addAllReplicas(members);
      node.catalog().append(command.build()).join();
      log.info("replicas are placed on {}", members);
    }
  }

  private void spread() {
    ClusterMap map = node.catalog().state().map();
    if (map.getShardsCount() == 0 || map.getShards(0).getReplicasCount() < 2) {
      return;
    }
    List<String> replicas = map.getShards(0).getReplicasList();
    List<Server> members =
        map.getServersList().stream().filter(s -> replicas.contains(s.getId())).toList();
    ClusterNode.Spread spread = node.spread(members);
    for (Map.Entry<String, String> failure : spread.failures().entrySet()) {
      trouble(failure.getKey() + ": " + failure.getValue());
    }
    for (int shard : spread.changedShards()) {
      handOver(shard, replicas.get(shard % replicas.size()));
    }
  }

  /** Spreads leadership evenly, once, when replicas have come to new servers. */
  private void handOver(int shard, String target) {
    if (!target.equals(node.me().getId()) && handedOver.add(shard)) {
      try {
        node.transfer(shard, target);
      } catch (IOException e) {
        log.info("shard {} keeps its leader: {}", shard, e.getMessage());
      }
    }
  }

  /** Frees the blocks of deleted models on the shards led from here. */
  private void free() {
    CatalogState catalog = node.catalog().state();
    for (Model model : catalog.deleting()) {
      int count = model.getSpec().getParametersCount();
      boolean everywhere = true;
      for (int shard = 0; shard < node.shardCount() && count > 0; shard++) {
        long first = model.getSpec().getParameters(0).getId();
        long last = model.getSpec().getParameters(count - 1).getId();
        ShardMachine machine = node.shard(shard).machine();
        if (!machine.dropped(first, last)) {
          everywhere = false;
          if (node.shard(shard).leadership().leads()) {
            node.shard(shard).append(EntryBytes.of(Entry.drop(first, last))).join();
          }
        }
      }
      if (everywhere && node.catalog().leadership().leads()) {
        CatalogCommand.Builder command = CatalogCommand.newBuilder();
        command.getFreedBuilder().setModelId(model.getId());
        node.catalog().append(command.build()).join();
      }
    }
  }

  @Override
  public void close() {
    loop.shutdownNow();
    try {
      if (!loop.awaitTermination(5, TimeUnit.SECONDS)) {
        log.warn("the controller is still busy; the server stops without it");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
