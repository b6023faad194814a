package io.tensorhold.client;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.BlockRange;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.PullHeader;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.wire.BlocksMethods;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * One pull of many blocks: from all leaders side by side, and again for what is missing when a
 * leader is lost. The deadline is for progress: it starts anew with every block.
 */
final class BlockPuller {
  private record Key(long parameter, int block) implements Comparable<Key> {
    @Override
    public int compareTo(Key other) {
      int byParameter = Long.compareUnsigned(parameter, other.parameter);
      return byParameter != 0 ? byParameter : Integer.compare(block, other.block);
    }
  }

  private final ClusterConnection cluster;
  private final ModelHandle model;
  private final @Nullable Codec codec;
  private final BlockSink sink;
  private final TreeSet<Key> missing = new TreeSet<>();
  private long deadline;

  BlockPuller(
      ClusterConnection cluster,
      ModelHandle model,
      List<BlockRange> ranges,
      @Nullable Codec codec,
      BlockSink sink) {
    this.cluster = cluster;
    this.model = model;
    this.codec = codec;
    this.sink = sink;
    for (BlockRange range : ranges) {
      Parameter parameter = model.parameter(range.getParameterId());
      long end =
          Integer.toUnsignedLong(range.getFirst()) + Integer.toUnsignedLong(range.getCount());
      if (end > parameter.blocks()) {
        throw new TensorholdException(
            "BLOCK_OUT_OF_RANGE",
            "%s has %d blocks: asked for %d to %d"
                .formatted(
                    parameter.name(),
                    parameter.blocks(),
                    Integer.toUnsignedLong(range.getFirst()),
                    end - 1));
      }
      for (int i = 0; i < range.getCount(); i++) {
        missing.add(new Key(range.getParameterId(), range.getFirst() + i));
      }
    }
  }

  /** Pulls until every block has reached the sink. */
  void run() {
    deadline = cluster.deadlineNanos();
    ClusterMap map = cluster.map();
    for (int attempt = 0; ; attempt++) {
      TensorholdException failure = once(map);
      synchronized (this) {
        if (missing.isEmpty()) {
          return;
        }
      }
      if (failure != null && !failure.retryable()) {
        throw failure;
      }
      if (!cluster.pause(attempt, deadline)) {
        throw failure == null
            ? new TensorholdException("UNAVAILABLE", "blocks are missing from the answer")
            : failure;
      }
      map = cluster.refresh(deadline);
    }
  }

  private @Nullable TensorholdException once(ClusterMap map) {
    List<CompletableFuture<Void>> streams = new ArrayList<>();
    requests(map).forEach((address, request) -> streams.add(stream(address, request.build())));
    TensorholdException failure = null;
    for (CompletableFuture<Void> stream : streams) {
      try {
        stream.join();
      } catch (CompletionException e) {
        TensorholdException now = TensorholdException.of(e.getCause() == null ? e : e.getCause());
        if (failure == null || failure.retryable()) {
          failure = now;
        }
      }
    }
    if (streams.isEmpty()) {
      return new TensorholdException("UNAVAILABLE", "the shards have no leaders now");
    }
    return failure;
  }

  private synchronized Map<String, PullRequest.Builder> requests(ClusterMap map) {
    Map<String, PullRequest.Builder> requests = new HashMap<>();
    for (Key key : missing) {
      int shard = ShardHash.shard(key.parameter, key.block, map.getShardCount());
      String address = ClusterConnection.address(map, map.getShards(shard).getLeader());
      if (address != null) {
        PullRequest.Builder request =
            requests.computeIfAbsent(
                address,
                a ->
                    PullRequest.newBuilder()
                        .setModelId(model.id())
                        .setCatalogIndex(model.model().getCatalogIndex())
                        .setLoading(model.loading())
                        .setCodecValue(codec == null ? 0 : codec.id()));
        append(request, key);
      }
    }
    return requests;
  }

  private static void append(PullRequest.Builder request, Key key) {
    int last = request.getBlocksCount() - 1;
    if (last >= 0) {
      BlockRange.Builder range = request.getBlocksBuilder(last);
      if (range.getParameterId() == key.parameter
          && range.getFirst() + range.getCount() == key.block) {
        range.setCount(range.getCount() + 1);
        return;
      }
    }
    request.addBlocks(
        BlockRange.newBuilder().setParameterId(key.parameter).setFirst(key.block).setCount(1));
  }

  private CompletableFuture<Void> stream(String address, PullRequest request) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    ClientCall<PullRequest, Frame<PullHeader>> call =
        cluster
            .channel(address)
            .newCall(
                BlocksMethods.PULL,
                CallOptions.DEFAULT
                    .withExecutor(Runnable::run) // one hop less for every megabyte
                    .withDeadlineAfter(
                        Math.max(1, 10 * cluster.options().deadline().toNanos()),
                        TimeUnit.NANOSECONDS));
    ClientCalls.asyncServerStreamingCall(
        call,
        request,
        new StreamObserver<>() {
          @Override
          public void onNext(Frame<PullHeader> frame) {
            try (frame) {
              take(frame);
            }
          }

          @Override
          public void onError(Throwable error) {
            done.completeExceptionally(error);
          }

          @Override
          public void onCompleted() {
            done.complete(null);
          }
        });
    return done;
  }

  private synchronized void take(Frame<PullHeader> frame) {
    deadline = cluster.deadlineNanos();
    long offset = 0;
    MemorySegment payload = frame.payload();
    for (BlockHeader header : frame.header().getBlocksList()) {
      MemorySegment bytes = payload.asSlice(offset, header.getPayloadBytes());
      offset += header.getPayloadBytes();
      check(header, bytes);
      if (missing.remove(new Key(header.getParameterId(), header.getBlock()))) {
        sink.accept(header, bytes);
      }
    }
  }

  private void check(BlockHeader header, MemorySegment bytes) {
    Parameter parameter = model.parameter(header.getParameterId());
    Codec sent = Codec.ofId(header.getCodecValue());
    long expected = sent.bytes(parameter.dtype(), parameter.elementsIn(header.getBlock()));
    if (bytes.byteSize() != expected) {
      throw new TensorholdException(
          "PAYLOAD_LENGTH",
          "block %d of %s came with %d bytes instead of %d"
              .formatted(header.getBlock(), parameter.name(), bytes.byteSize(), expected));
    }
    if (header.getHasCrc() && Crc32c.of(bytes) != header.getCrc32C()) {
      throw new TensorholdException(
          "CHECKSUM",
          "block %d of %s arrived damaged".formatted(header.getBlock(), parameter.name()));
    }
  }
}
