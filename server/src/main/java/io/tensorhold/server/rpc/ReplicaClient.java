package io.tensorhold.server.rpc;

import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.ReplicaCopy;
import io.tensorhold.server.raft.ReplicaSource;
import io.tensorhold.server.rpc.FarCluster.Address;
import io.tensorhold.server.rpc.replication.CompareRequest;
import io.tensorhold.server.rpc.replication.Copy;
import io.tensorhold.server.rpc.replication.FileChunk;
import io.tensorhold.server.rpc.replication.OpenCopyRequest;
import io.tensorhold.server.rpc.replication.ReadFileRequest;
import io.tensorhold.server.rpc.replication.ReplicationGrpc;
import io.tensorhold.server.rpc.replication.StateChecksum;
import io.tensorhold.wire.ChannelSettings;
import java.io.IOException;
import java.util.Iterator;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Fetches replicas over the API port of the servers that hold them. */
public final class ReplicaClient implements ReplicaSource {
  /** A copy is made after a flush, which may have much to write. */
  private static final int OPEN_SECONDS = 120;

  private static final int COMPARE_SECONDS = 5;

  private final String clusterId;
  private final FarCluster far;

  /**
   * A client of one cluster.
   *
   * @param far the cluster from elsewhere, for a server that holds no catalog yet
   */
  public ReplicaClient(String clusterId, FarCluster far) {
    this.clusterId = clusterId;
    this.far = far;
  }

  @Override
  public @Nullable String addressOf(String serverId) {
    try {
      return ApiServer.address(far.map(), serverId);
    } catch (Refusal unreachable) {
      return null;
    }
  }

  @Override
  public ReplicaCopy open(String address, int shard, long minIndex, String begun)
      throws IOException {
    return call(
        address,
        stub -> {
          Copy copy =
              stub.withDeadlineAfter(OPEN_SECONDS, TimeUnit.SECONDS)
                  .openCopy(
                      OpenCopyRequest.newBuilder()
                          .setClusterId(clusterId)
                          .setShard(shard)
                          .setMinIndex(minIndex)
                          .setBegun(begun)
                          .build());
          return new ReplicaCopy(
              copy.getId(),
              copy.getTerm(),
              copy.getIndex(),
              copy.getFilesList().stream()
                  .map(file -> new ReplicaCopy.File(file.getName(), file.getBytes()))
                  .toList());
        });
  }

  @Override
  public OptionalLong compare(String address, int shard, long index, OptionalLong agreed)
      throws IOException {
    CompareRequest.Builder request =
        CompareRequest.newBuilder().setClusterId(clusterId).setShard(shard).setIndex(index);
    agreed.ifPresent(request::setAgreed);
    StateChecksum answer =
        call(
            address,
            stub ->
                stub.withDeadlineAfter(COMPARE_SECONDS, TimeUnit.SECONDS).compare(request.build()));
    return answer.hasChecksum() ? OptionalLong.of(answer.getChecksum()) : OptionalLong.empty();
  }

  @Override
  public int read(String address, int shard, String copy, String file, long offset, Sink sink)
      throws IOException {
    return call(
        address,
        stub -> {
          Iterator<FileChunk> chunks =
              stub.readFile(
                  ReadFileRequest.newBuilder()
                      .setClusterId(clusterId)
                      .setShard(shard)
                      .setCopy(copy)
                      .setFile(file)
                      .setOffset(offset)
                      .build());
          while (chunks.hasNext()) {
            FileChunk chunk = chunks.next();
            if (chunk.hasCrc32C()) {
              return chunk.getCrc32C();
            }
            sink.write(chunk.getData().asReadOnlyByteBuffer());
          }
          throw new IOException("the transfer of %s from %s ended early".formatted(file, address));
        });
  }

  private interface Call<T> {
    T on(ReplicationGrpc.ReplicationBlockingStub stub) throws IOException;
  }

  private <T> T call(String text, Call<T> call) throws IOException {
    Address address = Address.of(text);
    ManagedChannel channel =
        ChannelSettings.client(address.host(), address.port(), far.tls()).build();
    try {
      return call.on(ReplicationGrpc.newBlockingStub(channel));
    } catch (StatusRuntimeException e) {
      throw new IOException("%s: %s".formatted(text, e.getStatus().getDescription()), e);
    } finally {
      channel.shutdownNow();
    }
  }
}
