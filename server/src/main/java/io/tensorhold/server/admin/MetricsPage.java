package io.tensorhold.server.admin;

import io.prometheus.metrics.core.metrics.GaugeWithCallback;
import io.prometheus.metrics.exporter.httpserver.HTTPServer;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import io.tensorhold.proto.v1.ServerStatus;
import java.io.IOException;
import java.net.InetAddress;
import java.util.function.ToLongFunction;
import org.jspecify.annotations.Nullable;

/** The server's figures for Prometheus, at {@code /metrics}. */
public final class MetricsPage implements AutoCloseable {
  private final @Nullable HTTPServer server;

  /** A page at host:port; an empty address means none. */
  public MetricsPage(String listen, ServerReport report) throws IOException {
    if (listen.isBlank()) {
      server = null;
      return;
    }
    PrometheusRegistry registry = new PrometheusRegistry();
    gauge(registry, report, "resident_bytes", "Resident memory.", ServerStatus::getResidentBytes);
    gauge(
        registry,
        report,
        "memory_tier_bytes",
        "Blocks in memory.",
        ServerStatus::getMemoryTierBytes);
    gauge(
        registry,
        report,
        "memory_tier_budget_bytes",
        "Limit of blocks in memory.",
        ServerStatus::getMemoryTierBudget);
    gauge(registry, report, "disk_free_bytes", "Free disk.", ServerStatus::getDiskFreeBytes);
    gauge(registry, report, "disk_full", "1: writes are refused.", s -> s.getDiskFull() ? 1 : 0);
    gauge(registry, report, "log_bytes", "Raft logs on disk.", ServerStatus::getLogBytes);
    gauge(registry, report, "rocksdb_bytes", "Databases on disk.", ServerStatus::getRocksdbBytes);
    gauge(registry, report, "pulled_bytes", "Payload sent.", ServerStatus::getPulledBytes);
    gauge(
        registry,
        report,
        "follower_pulled_bytes",
        "Payload sent to pulls that this server answered as a follower.",
        ServerStatus::getFollowerPulledBytes);
    gauge(
        registry,
        report,
        "step_wait_ms",
        "Pushes' wait for other workers since the start, all together.",
        ServerStatus::getStepWaitMs);
    gauge(
        registry,
        report,
        "rows_read",
        "Rows of tables that were named by pulls and pushes.",
        ServerStatus::getRowsRead);
    gauge(
        registry,
        report,
        "rows_from_disk",
        "Of rows_read: looked up on disk.",
        ServerStatus::getRowsFromDisk);
    gauge(registry, report, "pushed_bytes", "Payload received.", ServerStatus::getPushedBytes);
    gauge(
        registry,
        report,
        "pushed_decoded_bytes",
        "Payload received, as f32.",
        ServerStatus::getPushedDecodedBytes);
    gauge(
        registry,
        report,
        "shards_led",
        "Shards whose leader this server is.",
        s -> s.getReplicasList().stream().filter(r -> r.getRole().equals("leader")).count());
    gauge(
        registry,
        report,
        "replicas_refetched",
        "Replicas that differed from most others, since the start.",
        ServerStatus::getReplicasRefetched);
    gauge(
        registry,
        report,
        "shards_differing",
        "Shards led from here whose replicas differ without a majority.",
        s -> s.getReplicasList().stream().filter(r -> !r.getDifference().isEmpty()).count());
    int colon = listen.lastIndexOf(':');
    server =
        HTTPServer.builder()
            .inetAddress(InetAddress.getByName(listen.substring(0, colon)))
            .port(Integer.parseInt(listen.substring(colon + 1)))
            .registry(registry)
            .buildAndStart();
  }

  private static void gauge(
      PrometheusRegistry registry,
      ServerReport report,
      String name,
      String help,
      ToLongFunction<ServerStatus> value) {
    GaugeWithCallback.builder()
        .name("tensorhold_" + name)
        .help(help)
        .callback(callback -> callback.call((double) value.applyAsLong(report.status(false))))
        .register(registry);
  }

  @Override
  public void close() {
    if (server != null) {
      server.close();
    }
  }
}
