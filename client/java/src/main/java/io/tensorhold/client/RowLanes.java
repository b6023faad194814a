package io.tensorhold.client;

import io.tensorhold.client.BlockLanes.Step;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;

/** The pushes of rows of one session: a lane for each shard, beside those of blocks. */
final class RowLanes {
  private final Session session;
  private final ClusterConnection cluster;
  private final Map<Integer, PushLane<PushRowsHeader>> lanes = new ConcurrentHashMap<>();

  RowLanes(Session session, ClusterConnection cluster) {
    this.session = session;
    this.cluster = cluster;
  }

  /** Sends a message, which knows its part of the step that it belongs to. */
  CompletableFuture<PushResult> send(RowMessage message, Step step) {
    Table table = message.table();
    ModelHandle model = table.model();
    int shard = message.shard();
    MemorySegment values = message.values();
    PushRowsHeader.Builder header =
        message
            .header()
            .setSession(session.id())
            .setModelId(model.id())
            .setTableId(table.id())
            .setShard(shard)
            .setStep(step.step())
            .setRank(step.rank())
            .setCatalogIndex(Math.max(model.model().getCatalogIndex(), step.catalogIndex()))
            .setLoading(model.loading())
            .setCrc32C(Crc32c.of(values));
    header.setExpectTerm(session.term(model, shard));
    session.countPushed(values.byteSize());
    PushLane<PushRowsHeader> lane =
        lanes.computeIfAbsent(
            shard,
            key -> new PushLane<>(cluster, shard, PushLane.Method.PUSH_ROWS, session::ackedBelow));
    return session
        .submit(
            lane,
            model,
            shard,
            values.byteSize(),
            f -> {},
            seq -> {
              PushRowsHeader numbered = header.setSeq(seq).build();
              return ackedBelow -> {
                PushRowsHeader.Builder now = numbered.toBuilder().setAckedBelow(ackedBelow);
                if (now.getExpectTerm() == 0) { // what is sent again may know more
                  now.setExpectTerm(session.term(model, shard));
                }
                return Frame.of(now.build(), List.of(values), () -> {});
              };
            })
        .thenApply(PushResult::of);
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
