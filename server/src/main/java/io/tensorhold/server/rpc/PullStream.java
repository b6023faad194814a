package io.tensorhold.server.rpc;

import io.grpc.stub.ServerCallStreamObserver;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockRange;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.PullHeader;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.Frame;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;

/** One Pull: blocks in the order asked, as fast as the client takes them. */
final class PullStream {
  /** Payload of a message past which no further block joins it. */
  private static final int MESSAGE_BYTES = 1 << 20;

  /** Blocks of a message. */
  private static final int MESSAGE_BLOCKS = 1024;

  private final ClusterNode node;
  private final BlockRequests requests;
  private final Errors errors;
  private final Traffic traffic;
  private final ServerCallStreamObserver<Frame<PullHeader>> out;
  private final PullRequest request;
  private @Nullable ModelView view;
  private final Map<Integer, ShardMachine> replicas = new ConcurrentHashMap<>();
  private @Nullable Codec codec;
  private boolean follower;
  private int range;
  private int inRange;
  private boolean open;

  PullStream(
      ClusterNode node,
      BlockRequests requests,
      Errors errors,
      Traffic traffic,
      PullRequest request,
      ServerCallStreamObserver<Frame<PullHeader>> out) {
    this.node = node;
    this.requests = requests;
    this.errors = errors;
    this.traffic = traffic;
    this.request = request;
    this.out = out;
  }

  void start(Executor executor) {
    out.setOnReadyThreshold(ChannelSettings.READY_BYTES);
    out.setOnReadyHandler(this::send);
    out.setOnCancelHandler(this::stop);
    try {
      view = requests.model(request.getModelId(), request.getCatalogIndex(), request.getLoading());
      List<CompletableFuture<Void>> fences = new ArrayList<>();
      for (int shard : check(view)) {
        fences.add(fence(view, shard).thenAccept(replica -> replicas.put(shard, replica)));
      }
      var _ =
          CompletableFuture.allOf(fences.toArray(CompletableFuture[]::new))
              .whenCompleteAsync(
                  (done, failure) -> {
                    if (failure != null) {
                      out.onError(errors.exception(failure));
                    } else {
                      begin();
                    }
                  },
                  executor);
    } catch (RuntimeException e) {
      out.onError(errors.exception(e));
    }
  }

  /** The replica that may answer, once it is fresh enough. */
  private CompletableFuture<ShardMachine> fence(ModelView model, int shard) {
    ShardLog log = node.shard(shard);
    Leadership leadership = log.leadership();
    if (leadership.leads()) {
      ShardMachine replica = log.machine();
      replica.dropOverlay(leadership.term());
      return log.fence().thenApply(sure -> replica);
    }
    if (request.getMaxStalenessMs() == 0
        || model.model().getSpec().getDurability() == Durability.CHECKPOINTED) {
      throw Trainer.notLeader(leadership);
    }
    follower = true;
    return log.within(Duration.ofMillis(Integer.toUnsignedLong(request.getMaxStalenessMs())));
  }

  private ShardMachine replica(int shard) {
    return unreplaced(Objects.requireNonNull(replicas.get(shard)), node.shard(shard));
  }

  /** The replica that was found fresh; another that has taken its place may be older. */
  static ShardMachine unreplaced(ShardMachine fresh, ShardLog log) {
    if (!fresh.equals(log.machine())) {
      throw new Refusal(
          Reason.UNAVAILABLE,
          "this server's replica of shard %d was replaced: ask again".formatted(log.shard()));
    }
    return fresh;
  }

  /** Checks every range; gives the shards they lie on. */
  private Set<Integer> check(ModelView model) {
    if (request.getCodecValue() != 0) {
      codec = BlockRequests.pullCodec("the pull", request.getCodecValue());
    }
    Set<Integer> shards = new TreeSet<>();
    for (BlockRange asked : request.getBlocksList()) {
      ParameterRecord parameter = model.record(asked.getParameterId());
      String name = model.name(asked.getParameterId());
      long end =
          Integer.toUnsignedLong(asked.getFirst()) + Integer.toUnsignedLong(asked.getCount());
      if (end > parameter.blocks()) {
        throw new Refusal(
            Reason.BLOCK_OUT_OF_RANGE,
            "%s has %d blocks: asked for %d to %d"
                .formatted(
                    name, parameter.blocks(), Integer.toUnsignedLong(asked.getFirst()), end - 1),
            "parameter",
            name,
            "value",
            end - 1,
            "limit",
            parameter.blocks());
      }
      if (codec != null && codec.computable() != parameter.codec().computable()) {
        throw new Refusal(
            Reason.CODEC_INVALID,
            "%s is stored as %s and can't be pulled as %s"
                .formatted(name, parameter.codec().label(), codec.label()),
            "parameter",
            name,
            "value",
            codec.label());
      }
      for (int i = 0; i < asked.getCount(); i++) {
        shards.add(requests.shardOf(parameter.id(), asked.getFirst() + i));
      }
    }
    return shards;
  }

  private synchronized void begin() {
    open = true;
    send();
  }

  private synchronized void stop() {
    open = false;
  }

  private synchronized void send() {
    try {
      while (open && out.isReady()) {
        skipEmptyRanges();
        if (range == request.getBlocksCount()) {
          open = false;
          out.onCompleted();
          return;
        }
        sendMessage();
      }
    } catch (RuntimeException e) {
      open = false;
      out.onError(errors.exception(e));
    }
  }

  private void skipEmptyRanges() {
    while (range < request.getBlocksCount() && inRange >= request.getBlocks(range).getCount()) {
      range++;
      inRange = 0;
    }
  }

  private void sendMessage() {
    ModelView model = Objects.requireNonNull(view);
    BlockReader message = new BlockReader(this::replica);
    try {
      while (range < request.getBlocksCount()
          && message.bytes() < MESSAGE_BYTES
          && message.headers().size() < MESSAGE_BLOCKS) {
        BlockRange asked = request.getBlocks(range);
        ParameterRecord parameter = model.record(asked.getParameterId());
        int block = asked.getFirst() + inRange;
        message.add(requests.shardOf(parameter.id(), block), parameter, block, codec);
        inRange++;
        skipEmptyRanges();
      }
    } catch (RuntimeException e) {
      message.release();
      throw e;
    }
    traffic.addPulled(message.bytes(), follower);
    PullHeader header = PullHeader.newBuilder().addAllBlocks(message.headers()).build();
    try (Frame<PullHeader> frame = Frame.of(header, message.pieces(), message::release)) {
      out.onNext(frame);
    }
  }
}
