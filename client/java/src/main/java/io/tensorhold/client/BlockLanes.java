package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.StepFactors;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** The pushes of blocks of one session: for each shard a lane, and one that brings values back. */
final class BlockLanes {
  private final Session session;
  private final ClusterConnection cluster;
  private final Map<Integer, PushLane<PushHeader>> lanes = new ConcurrentHashMap<>();

  /**
   * Where a push belongs: nothing for ASSIGN and ADD.
   *
   * @param everyShard of the model gets a part, though it be empty
   */
  record Step(
      long step,
      int rank,
      boolean everyShard,
      long catalogIndex,
      @Nullable Consumer<Frame<PushPullHeader>> updated) {
    static final Step NONE = new Step(0, 0, false, 0, null);

    /** A step of a plain session: a gradient that nobody counts. */
    static Step uncounted(long step, int rank, @Nullable Consumer<Frame<PushPullHeader>> updated) {
      return new Step(step, rank, false, 0, updated);
    }
  }

  BlockLanes(Session session, ClusterConnection cluster) {
    this.session = session;
    this.cluster = cluster;
  }

  /**
   * Sends a message until it is answered.
   *
   * @param again its payload was sent before, and is left out
   */
  CompletableFuture<PushResponse> send(
      ModelHandle model,
      Operation operation,
      PushPart message,
      Step step,
      @Nullable StepFactors factors,
      boolean again) {
    int shard = message.shard();
    PushHeader.Builder header =
        PushHeader.newBuilder()
            .setShard(shard)
            .setPart(message.part())
            .setParts(message.parts())
            .setWithoutPayload(again);
    if (factors != null) {
      header.setFactors(factors);
    }
    header
        .setSession(session.id())
        .setModelId(model.id())
        .setOperation(operation)
        .setStep(step.step())
        .setRank(step.rank())
        .setCatalogIndex(Math.max(model.model().getCatalogIndex(), step.catalogIndex()))
        .setLoading(model.loading())
        .setPullCodecValue(Codec.F32.id());
    header.setExpectTerm(session.term(model, shard));
    List<MemorySegment> pieces = new ArrayList<>();
    long bytes = 0;
    for (BlockPart block : message.blocks()) {
      BlockHeader.Builder described = block.header();
      if (operation == Operation.GRADIENT) {
        model.pulledSteps().computedAt(described);
      }
      header.addBlocks(described);
      if (!again) {
        pieces.addAll(block.pieces());
        bytes += block.bytes();
      }
    }
    Consumer<Frame<PushPullHeader>> updated = step.updated() == null ? f -> {} : step.updated();
    PushLane.Method method =
        step.updated() == null ? PushLane.Method.PUSH : PushLane.Method.PUSH_PULL;
    PushLane<PushHeader> lane =
        lanes.computeIfAbsent(
            step.updated() == null ? shard : shard + cluster.map().getShardCount(),
            key -> new PushLane<>(cluster, shard, method, session::ackedBelow));
    return session.submit(
        lane,
        model,
        shard,
        bytes,
        updated,
        seq -> {
          PushHeader numbered = header.setSeq(seq).build();
          return ackedBelow -> {
            PushHeader.Builder now = numbered.toBuilder().setAckedBelow(ackedBelow);
            if (now.getExpectTerm() == 0) { // what is sent again may know more
              now.setExpectTerm(session.term(model, shard));
            }
            return Frame.of(now.build(), pieces, () -> {});
          };
        });
  }

  /** Ends the pushes whose deadline has passed, and leaves leaders that are none any more. */
  void sweep(TensorholdException why) {
    lanes.values().forEach(lane -> lane.failExpired(why));
    lanes.values().forEach(PushLane::leaveSilent);
  }

  void close() {
    lanes.values().forEach(PushLane::close);
  }
}
