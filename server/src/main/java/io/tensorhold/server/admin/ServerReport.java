package io.tensorhold.server.admin;

import io.tensorhold.proto.v1.MeasureModelResponse;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.proto.v1.ServerStatus;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Checksum;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.Comparison;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.ShardFigures;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.store.StoreException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.function.BooleanSupplier;
import java.util.function.LongSupplier;
import java.util.stream.Stream;

/** One server's figures, measured when asked. */
public final class ServerReport {
  private final ClusterNode node;
  private final Path dataDirectory;
  private final long memoryBudget;
  private final Traffic traffic;
  private final BooleanSupplier diskFull;
  private final LongSupplier waitedMillis;
  private final long started = System.nanoTime();

  /**
   * A report on what the node holds under the data directory.
   *
   * @param waitedMillis that pushes have waited for other workers
   */
  public ServerReport(
      ClusterNode node,
      Path dataDirectory,
      long memoryBudget,
      Traffic traffic,
      BooleanSupplier diskFull,
      LongSupplier waitedMillis) {
    this.node = node;
    this.dataDirectory = dataDirectory;
    this.memoryBudget = memoryBudget;
    this.traffic = traffic;
    this.diskFull = diskFull;
    this.waitedMillis = waitedMillis;
  }

  /** The figures of the server; with checksums, every block is read. */
  public ServerStatus status(boolean checksums) {
    long memory = 0;
    long rowsRead = 0;
    long rowsFromDisk = 0;
    long refetched = 0;
    ServerStatus.Builder status =
        ServerStatus.newBuilder()
            .setServer(node.me())
            .setVersion(version())
            .setUptimeSeconds((System.nanoTime() - started) / 1_000_000_000L)
            .setResidentBytes(residentBytes())
            .setMemoryTierBudget(memoryBudget)
            .setDiskFreeBytes(dataDirectory.toFile().getUsableSpace())
            .setLogBytes(logBytes())
            .setRocksdbBytes(node.storedBytes())
            .setDiskFull(diskFull.getAsBoolean())
            .setStepWaitMs(waitedMillis.getAsLong())
            .setPulledBytes(traffic.pulled())
            .setFollowerPulledBytes(traffic.pulledFromFollowers())
            .setPushedBytes(traffic.pushed())
            .setPushedDecodedBytes(traffic.decoded());
    for (int shard = 0; shard < node.shardCount(); shard++) {
      Leadership leadership = node.shard(shard).leadership();
      ReplicaStatus.Builder replica =
          ReplicaStatus.newBuilder()
              .setShard(shard)
              .setRole(leadership.role())
              .setTerm(leadership.term())
              .addAllMembers(node.shard(shard).members());
      Comparison comparison = node.shard(shard).comparison();
      refetched += comparison.refetched();
      replica
          .setComparedIndex(Math.max(0, comparison.index()))
          .setDifference(comparison.difference());
      try {
        ShardMachine machine = node.shard(shard).machine();
        memory += machine.memoryBytes();
        rowsRead += machine.rows().rowsRead();
        rowsFromDisk += machine.rows().rowsFromDisk();
        Checksum checksum = checksums ? node.shard(shard).checksum() : null;
        synchronized (machine) {
          replica
              .setAppliedIndex(machine.appliedIndex())
              .setFlushedIndex(machine.flushedIndex())
              .setMemoryBytes(machine.memoryBytes())
              .setDirtyBytes(machine.dirtyBytes())
              .setBlocks(machine.figures(parameter -> true).blocks());
        }
        if (checksum != null) {
          replica.setAppliedIndex(checksum.index()).setChecksum(checksum.value());
        }
        status.addReplicas(replica);
      } catch (StoreException damaged) {
        status.addReplicas(replica.setRole("failed"));
      } catch (Refusal starting) {
        if (!leadership.equals(Leadership.NONE)) {
          status.addReplicas(replica);
        }
      }
    }
    Leadership catalog = node.catalog().leadership();
    return status
        .setMemoryTierBytes(memory)
        .setRowsRead(rowsRead)
        .setRowsFromDisk(rowsFromDisk)
        .setReplicasRefetched(refetched)
        .setCatalog(
            ReplicaStatus.newBuilder()
                .setRole(catalog.role())
                .setTerm(catalog.term())
                .addAllMembers(node.catalog().members())
                .setAppliedIndex(node.catalog().state().appliedIndex()))
        .build();
  }

  /** The figures of one model on this server. */
  public MeasureModelResponse measure(long modelId) {
    Model model = node.catalog().state().byId(modelId);
    if (model == null) {
      throw new Refusal(Reason.MODEL_UNKNOWN, "no model has the id " + modelId, "model", modelId);
    }
    MeasureModelResponse.Builder sum = MeasureModelResponse.newBuilder().setLogBytes(logBytes());
    int count = model.getSpec().getParametersCount();
    if (count == 0) {
      return sum.build();
    }
    long first = model.getSpec().getParameters(0).getId();
    long last = model.getSpec().getParameters(count - 1).getId();
    for (int shard = 0; shard < node.shardCount(); shard++) {
      try {
        ShardFigures figures = node.shard(shard).machine().figures(id -> id >= first && id <= last);
        sum.setBlocks(sum.getBlocks() + figures.blocks())
            .setMemoryBytes(sum.getMemoryBytes() + figures.memoryBytes())
            .setRocksdbBytes(sum.getRocksdbBytes() + figures.storedBytes())
            .setWeightBytes(sum.getWeightBytes() + figures.weightBytes())
            .setStateBytes(sum.getStateBytes() + figures.stateBytes());
      } catch (Refusal noReplica) {
        // Another server holds it and counts it.
      }
    }
    return sum.build();
  }

  /** Bytes of all logs on disk. */
  public long logBytes() {
    long bytes = 0;
    try (Stream<Path> files = Files.walk(dataDirectory.resolve("raft"))) {
      for (Path file : files.toList()) {
        if (file.getFileName().toString().startsWith("log_")) {
          bytes += sizeOf(file);
        }
      }
    } catch (IOException | java.io.UncheckedIOException e) {
      return bytes;
    }
    return bytes;
  }

  private static long sizeOf(Path file) throws IOException {
    try {
      return Files.size(file);
    } catch (NoSuchFileException purgedMeanwhile) {
      return 0;
    }
  }

  /** Resident memory of this process; 0 where the system does not tell. */
  public static long residentBytes() {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/status"))) {
      return lines
          .filter(line -> line.startsWith("VmRSS:"))
          .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024)
          .findFirst()
          .orElse(0);
    } catch (IOException e) {
      return 0;
    }
  }

  private static String version() {
    String version = ServerReport.class.getPackage().getImplementationVersion();
    return version == null ? "0.1.0-SNAPSHOT" : version;
  }
}
