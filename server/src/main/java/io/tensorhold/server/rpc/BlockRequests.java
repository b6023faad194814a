package io.tensorhold.server.rpc;

import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ModelState;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.raft.CatalogLog;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PartCheck;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Checks requests for blocks against the catalog, and turns them into commands. */
final class BlockRequests {
  /** As long as a catalog that is behind is waited for. */
  private static final long FENCE_SECONDS = 5;

  private final CatalogLog catalog;
  private final int shardCount;
  private final Map<Long, ModelView> views = new ConcurrentHashMap<>();

  /** A push that may be logged, and the parameters of its parts. */
  record CheckedPush(
      ModelView view,
      PushCommand command,
      Set<ParameterRecord> parameters,
      PushPayload received,
      long decodedBytes) {
    /** Lets go of the payload: it is read by those only who hold it. */
    void release() {
      received.release();
    }
  }

  BlockRequests(CatalogLog catalog, int shardCount) {
    this.catalog = catalog;
    this.shardCount = shardCount;
  }

  int shardOf(long parameter, long block) {
    return ShardHash.shard(parameter, block, shardCount);
  }

  /** The model, after this server's catalog has caught up to the index. */
  ModelView model(long id, long catalogIndex, boolean loading) {
    CatalogState state = catalog.state();
    if (state.appliedIndex() < catalogIndex) {
      catalog.until(() -> state.appliedIndex() >= catalogIndex).join();
    }
    Model model = state.byId(id);
    boolean visible =
        model != null
            && (model.getState() == ModelState.READY
                || (loading && model.getState() == ModelState.LOADING));
    if (!visible) {
      views.remove(id);
      throw new Refusal(
          Reason.MODEL_UNKNOWN,
          "no model has the id %s%s"
              .formatted(
                  Long.toUnsignedString(id),
                  model == null
                      ? ""
                      : model.getState() == ModelState.LOADING
                          ? ": it is still being loaded"
                          : ": it was deleted"),
          "model",
          Long.toUnsignedString(id));
    }
    ModelView view = views.get(id);
    if (view == null || view.model().getCatalogIndex() != model.getCatalogIndex()) {
      view = ModelView.of(model);
      views.put(id, view);
      if (views.size() > 1024) {
        views.clear();
      }
    }
    return view;
  }

  static Refusal diskFull() {
    return new Refusal(
        Reason.DISK_FULL,
        "the server's disk has reached its reserve: writes are refused until there is space again;"
            + " reads go on",
        "limit-name",
        "disk-reserve");
  }

  /**
   * Checks a push and receives its payload, which the caller releases; nothing was changed when
   * this throws.
   */
  CheckedPush check(PushHeader header, Frame<PushHeader> frame) {
    ModelView view = model(header.getModelId(), header.getCatalogIndex(), header.getLoading());
    checkEnvelope(view, header, frame.payloadBytes());
    Operation operation = operation(header.getOperationValue());
    List<Part> parts = new ArrayList<>(header.getBlocksCount());
    Set<ParameterRecord> parameters = new LinkedHashSet<>();
    long offset = 0;
    long touched = 0;
    long values = 0;
    for (BlockHeader block : header.getBlocksList()) {
      ParameterRecord parameter = view.record(block.getParameterId());
      String name = view.name(block.getParameterId());
      long left = header.getWithoutPayload() ? Limits.PUSH_BYTES : frame.payloadBytes();
      Part part = part(name, block, left - offset);
      part = part.at(FactorsCheck.computedAt(view, operation, block));
      PartCheck.check(name, parameter, operation, part);
      checkShard(header, name, parameter, part);
      offset += part.payloadBytes();
      touched += parameter.blockBytes(part.block());
      values += 4 * elements(part, parameter.elementsIn(part.block()));
      parts.add(part);
      parameters.add(parameter);
    }
    if (!header.getWithoutPayload() && offset != frame.payloadBytes()) {
      throw lengthOf(
          "the blocks of the push take %d bytes".formatted(offset), frame.payloadBytes());
    }
    if (touched > Limits.TOUCHED_BYTES && parts.size() > 1) {
      throw limit("bytes of the blocks that a push touches", touched, Limits.TOUCHED_BYTES);
    }
    if (values > Limits.PUSH_DECODED_BYTES) {
      throw limit("bytes of a push as f32", values, Limits.PUSH_DECODED_BYTES);
    }
    Tag tag = new Tag(header.getSession(), header.getSeq(), header.getAckedBelow());
    StepFactors ofStep = FactorsCheck.factors(view, header);
    boolean together = FactorsCheck.together(view, operation);
    PushCommand.Factors factors =
        ofStep == null || together
            ? null
            : ofStep.of(view.model().getSpec().getParameters(0).getId(), parts);
    if (!together) {
      for (int i = 0; i < parts.size(); i++) {
        long id = parts.get(i).parameter();
        PartCheck.checkFactors(view.name(id), view.record(id), operation, factors, i);
      }
    }
    PushPayload payload =
        header.getWithoutPayload()
            ? PushPayload.room(view, operation, List.of(), ofStep, 0)
            : receive(view, header, operation, parts, ofStep, frame);
    PushCommand command = payload.command(tag, operation, parts, factors);
    return new CheckedPush(view, command, parameters, payload, values);
  }

  private void checkShard(PushHeader header, String name, ParameterRecord parameter, Part part) {
    int shard = shardOf(parameter.id(), part.block());
    if (shard != header.getShard()) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "block %d of %s lies on shard %d: value=%d"
              .formatted(part.block(), name, shard, Integer.toUnsignedLong(header.getShard())),
          "parameter",
          name,
          "value",
          header.getShard(),
          "expected",
          shard);
    }
  }

  private static PushPayload receive(
      ModelView view,
      PushHeader header,
      Operation operation,
      List<Part> parts,
      @Nullable StepFactors factors,
      Frame<PushHeader> frame) {
    PushPayload payload = PushPayload.room(view, operation, parts, factors, frame.payloadBytes());
    try {
      for (int i = 0; i < parts.size(); i++) {
        Part part = parts.get(i);
        BlockHeader block = header.getBlocks(i);
        payload.receive(
            frame,
            view.record(part.parameter()),
            view.name(part.parameter()),
            part,
            (int) elements(part, view.record(part.parameter()).elementsIn(part.block())),
            block.getHasCrc() ? (Integer) block.getCrc32C() : null,
            !view.model().getSpec().getAllowNonfinite() && part.codec().computable());
      }
      return payload;
    } catch (RuntimeException e) {
      payload.release();
      throw e;
    }
  }

  void checkShard(int shard) {
    if (Integer.compareUnsigned(shard, shardCount) >= 0) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "shard: value=%d allowed=0..%d".formatted(Integer.toUnsignedLong(shard), shardCount - 1),
          "value",
          Integer.toUnsignedLong(shard),
          "limit",
          shardCount - 1);
    }
  }

  /**
   * Refuses a session that was never opened. This server may not have heard of a young one yet, so
   * it first makes sure that its catalog holds all that was acknowledged; while it can't, the push
   * may come again.
   */
  void requireSession(long session) {
    CatalogState state = catalog.state();
    if (state.hasSession(session)) {
      return;
    }
    String number = Long.toUnsignedString(session);
    try {
      var _ = catalog.fence().orTimeout(FENCE_SECONDS, TimeUnit.SECONDS).join();
    } catch (RuntimeException e) {
      throw new Refusal(
          Reason.UNAVAILABLE,
          "this server's catalog does not know session %s, and may be behind: try again"
              .formatted(number));
    }
    if (!state.hasSession(session)) {
      throw new Refusal(
          Reason.SESSION_UNKNOWN,
          "no session has the number %s: open one".formatted(number),
          "value",
          number);
    }
  }

  private void checkEnvelope(ModelView view, PushHeader header, long payloadBytes) {
    requireSession(header.getSession());
    checkSeq(header.getSeq(), header.getAckedBelow());
    checkShard(header.getShard());
    if (header.getBlocksCount() == 0 && header.getStep() == 0) {
      throw new Refusal(
          Reason.REQUEST_INVALID, "a push names at least one block, unless it is part of a step");
    }
    if (header.getBlocksCount() > Limits.PUSH_BLOCKS) {
      throw limit("blocks of a push", header.getBlocksCount(), Limits.PUSH_BLOCKS);
    }
    if (payloadBytes > Limits.PUSH_BYTES) {
      throw limit("payload bytes of a push", payloadBytes, Limits.PUSH_BYTES);
    }
    if (header.getExpectTerm() != 0
        && view.model().getSpec().getDurability() != Durability.CHECKPOINTED) {
      throw new Refusal(
          Reason.REQUEST_INVALID, "expect_term is for CHECKPOINTED models: leave it 0");
    }
  }

  static void checkSeq(long seq, long ackedBelow) {
    if (seq < 1 || ackedBelow > seq) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "seq counts from 1 and acked_below is at most seq: seq=%d acked_below=%d"
              .formatted(seq, ackedBelow),
          "value",
          seq);
    }
  }

  /** What a push says of the step that it is a part of. */
  static Trainer.Step step(PushHeader header, ModelView view, MemorySegment payload) {
    if (header.getStep() == 0) {
      return Trainer.Step.NONE;
    }
    Crc32c crc = new Crc32c();
    ByteBuffer ofBlock = ByteBuffer.allocate(Integer.BYTES);
    long offset = 0;
    for (BlockHeader block : header.getBlocksList()) {
      int bytes = block.getPayloadBytes();
      int own = block.getHasCrc() ? block.getCrc32C() : Crc32c.of(payload.asSlice(offset, bytes));
      crc.update(MemorySegment.ofBuffer(ofBlock.putInt(0, own)));
      offset += bytes;
    }
    return new Trainer.Step(
        header.getStep(),
        header.getRank(),
        header.getPart(),
        header.getParts(),
        crc.value(),
        view.needs(),
        FactorsCheck.factors(view, header),
        header.getWithoutPayload());
  }

  static Operation operation(int number) {
    return switch (number) {
      case io.tensorhold.proto.v1.Operation.ASSIGN_VALUE -> Operation.ASSIGN;
      case io.tensorhold.proto.v1.Operation.ADD_VALUE -> Operation.ADD;
      case io.tensorhold.proto.v1.Operation.GRADIENT_VALUE -> Operation.GRADIENT;
      case io.tensorhold.proto.v1.Operation.RESTORE_VALUE -> Operation.RESTORE;
      default ->
          throw new Refusal(
              Reason.REQUEST_INVALID,
              "operation: value=%d allowed=1..4 (ASSIGN, ADD, GRADIENT, RESTORE)".formatted(number),
              "value",
              number);
    };
  }

  private static Part part(String name, BlockHeader block, long left) {
    Codec codec = codec(name, block.getCodecValue());
    if (block.getPayloadBytes() < 0 || block.getPayloadBytes() > left) {
      throw lengthOf(
          "block %d of %s says %d bytes"
              .formatted(block.getBlock(), name, Integer.toUnsignedLong(block.getPayloadBytes())),
          left);
    }
    int[] runs = new int[block.getRunsCount()];
    for (int i = 0; i < runs.length; i++) {
      runs[i] = block.getRuns(i);
    }
    return new Part(block.getParameterId(), block.getBlock(), codec, block.getPayloadBytes(), runs);
  }

  /** The codec that an answer shall have. */
  static Codec pullCodec(String what, int id) {
    Codec codec = codec(what, id);
    if (!codec.storable()) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "%s is for gradients on the wire: %s can't be in it; allowed=%s"
              .formatted(codec.label(), what, Codec.storableLabels()),
          "value",
          codec.label());
    }
    return codec;
  }

  static Codec codec(String name, int id) {
    try {
      return Codec.ofId(id);
    } catch (IllegalArgumentException e) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "codec of a block of %s: %s".formatted(name, e.getMessage()),
          "parameter",
          name,
          "value",
          id);
    }
  }

  private static long elements(Part part, int blockElements) {
    long sum = 0;
    for (int i = 1; i < part.runs().length; i += 2) {
      sum += part.runs()[i];
    }
    return part.runs().length == 0 ? blockElements : sum;
  }

  private static Refusal lengthOf(String what, long bytes) {
    return new Refusal(
        Reason.PAYLOAD_LENGTH, "%s, but the payload has %d".formatted(what, bytes), "value", bytes);
  }

  static Refusal limit(String name, long value, long limit) {
    return new Refusal(
        Reason.LIMIT,
        "%s: value=%d limit=%d; send several pushes".formatted(name, value, limit),
        "limit-name",
        name,
        "value",
        value,
        "limit",
        limit);
  }
}
