package io.tensorhold.client;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.BlockRange;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.PullHeader;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.proto.v1.Shard;
import io.tensorhold.wire.BlocksMethods;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * One pull of many blocks: from all leaders side by side, and again for what is missing when a
 * leader is lost. A pull that may be stale asks other replicas first, once; what they do not bring
 * comes from the leaders. The deadline is for progress: it starts anew with every block.
 */
final class BlockPuller {
  private record Key(long parameter, int block) implements Comparable<Key> {
    @Override
    public int compareTo(Key other) {
      int byParameter = Long.compareUnsigned(parameter, other.parameter);
      return byParameter != 0 ? byParameter : Integer.compare(block, other.block);
    }
  }

  /** A replica that sends nothing for so long is left for the leader. */
  private static final Duration PATIENCE = Duration.ofSeconds(2);

  private final ClusterConnection cluster;
  private final ModelHandle model;
  private final @Nullable Codec codec;
  private final BlockSink sink;
  private final long maxStalenessMillis;
  private final TreeSet<Key> missing = new TreeSet<>();
  private long deadline;

  BlockPuller(
      ClusterConnection cluster,
      ModelHandle model,
      List<BlockRange> ranges,
      @Nullable Codec codec,
      Duration maxStaleness,
      BlockSink sink) {
    this.cluster = cluster;
    this.model = model;
    this.codec = codec;
    this.sink = sink;
    boolean logged = model.model().getSpec().getDurability() != Durability.CHECKPOINTED;
    this.maxStalenessMillis = logged ? maxStaleness.toMillis() : 0;
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
    if (maxStalenessMillis > 0) {
      TensorholdException failure = fromReplicas(map);
      if (failure != null && !failure.retryable()) {
        throw failure;
      }
    }
    for (int attempt = 0; ; attempt++) {
      synchronized (this) {
        if (missing.isEmpty()) {
          return;
        }
      }
      TensorholdException failure = fromLeaders(map);
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

  private @Nullable TensorholdException fromLeaders(ClusterMap map) {
    List<Stream> streams = streams(map, shard -> ClusterConnection.address(map, shard.getLeader()));
    if (streams.isEmpty()) {
      return new TensorholdException("UNAVAILABLE", "the shards have no leaders now");
    }
    TensorholdException failure = null;
    for (Stream stream : streams) {
      failure =
          worse(
              failure,
              stream.join(ClusterConnection.SILENCE, () -> cluster.leadsNothing(stream.address)));
    }
    return failure;
  }

  /** What replicas have at once; those that fail are left alone for a while. */
  private @Nullable TensorholdException fromReplicas(ClusterMap map) {
    ReplicaChoice replicas = cluster.replicas();
    int turn = replicas.turn();
    TensorholdException failure = null;
    for (Stream stream : streams(map, shard -> replicas.choose(map, shard, turn))) {
      TensorholdException own = stream.join(PATIENCE, () -> true);
      if (own != null && own.retryable()) {
        replicas.avoid(stream.address);
      }
      failure = worse(failure, own);
    }
    return failure;
  }

  private static @Nullable TensorholdException worse(
      @Nullable TensorholdException before, @Nullable TensorholdException now) {
    return now != null && (before == null || before.retryable()) ? now : before;
  }

  /** Asks for what is missing, each server for the blocks of the shards that are its. */
  private List<Stream> streams(ClusterMap map, Function<Shard, @Nullable String> addressOf) {
    Map<String, PullRequest.Builder> requests = new HashMap<>();
    synchronized (this) {
      for (Key key : missing) {
        int shard = ShardHash.shard(key.parameter, key.block, map.getShardCount());
        String address = addressOf.apply(map.getShards(shard));
        if (address != null) {
          append(requests.computeIfAbsent(address, one -> request()), key);
        }
      }
    }
    List<Stream> streams = new ArrayList<>();
    requests.forEach((address, request) -> streams.add(new Stream(address, request.build())));
    return streams;
  }

  private PullRequest.Builder request() {
    return PullRequest.newBuilder()
        .setModelId(model.id())
        .setCatalogIndex(model.model().getCatalogIndex())
        .setLoading(model.loading())
        .setCodecValue(codec == null ? 0 : codec.id())
        .setMaxStalenessMs((int) Math.min(maxStalenessMillis, Integer.MAX_VALUE));
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

  /** Blocks that one server sends. */
  private final class Stream implements StreamObserver<Frame<PullHeader>> {
    private final String address;
    private final CompletableFuture<Void> done = new CompletableFuture<>();
    private final ClientCall<PullRequest, Frame<PullHeader>> call;
    private final AtomicInteger messages = new AtomicInteger();

    Stream(String address, PullRequest request) {
      this.address = address;
      call =
          cluster
              .channel(address)
              .newCall(
                  BlocksMethods.PULL,
                  CallOptions.DEFAULT
                      .withExecutor(Runnable::run) // one hop less for every megabyte
                      .withDeadlineAfter(
                          Math.max(1, 10 * cluster.options().deadline().toNanos()),
                          TimeUnit.NANOSECONDS));
      ClientCalls.asyncServerStreamingCall(call, request, this);
    }

    @Override
    public void onNext(Frame<PullHeader> frame) {
      messages.incrementAndGet();
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

    /**
     * Waits for the end; what went wrong, or null.
     *
     * @param leave whether to end the stream when nothing has come for so long
     */
    @Nullable TensorholdException join(Duration patience, BooleanSupplier leave) {
      while (true) {
        int before = messages.get();
        try {
          done.get(patience.toMillis(), TimeUnit.MILLISECONDS);
          return null;
        } catch (ExecutionException e) {
          return TensorholdException.of(e.getCause() == null ? e : e.getCause());
        } catch (TimeoutException e) {
          if (messages.get() == before && leave.getAsBoolean()) {
            call.cancel("the server sends nothing", null);
            return new TensorholdException("UNAVAILABLE", address + " sends nothing");
          }
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          call.cancel("interrupted", e);
          throw new TensorholdException("CANCELLED", "interrupted");
        }
      }
    }
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
        model.pulledSteps().pulled(header);
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
