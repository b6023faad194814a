package io.tensorhold.client;

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

  /**
   * Sends a message of rows of one shard.
   *
   * @param header with keys, operation and codec
   */
  CompletableFuture<PushResult> send(
      Table table, int shard, PushRowsHeader.Builder header, MemorySegment values) {
    ModelHandle model = table.model();
    header
        .setSession(session.id())
        .setModelId(model.id())
        .setTableId(table.id())
        .setShard(shard)
        .setCatalogIndex(model.model().getCatalogIndex())
        .setLoading(model.loading())
        .setCrc32C(Crc32c.of(values));
    if (Session.checkpointed(model)) {
      header.setExpectTerm(session.term(shard));
    }
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
              return ackedBelow ->
                  Frame.of(
                      numbered.toBuilder().setAckedBelow(ackedBelow).build(),
                      List.of(values),
                      () -> {});
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
