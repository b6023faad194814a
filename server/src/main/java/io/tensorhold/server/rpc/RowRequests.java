package io.tensorhold.server.rpc;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.PullRowsRequest;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.proto.v1.ScanForm;
import io.tensorhold.proto.v1.ScanRowsRequest;
import io.tensorhold.proto.v1.ShardRows;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.RowScan;
import io.tensorhold.server.shard.RowsCheck;
import io.tensorhold.server.shard.RowsCommand;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.StepNeeds;
import java.lang.foreign.MemorySegment;

/** Checks requests for rows against the catalog, and turns them into commands. */
final class RowRequests {
  private final BlockRequests blocks;

  RowRequests(BlockRequests blocks) {
    this.blocks = blocks;
  }

  /** A push that may be logged; its values are memory that the caller frees. */
  record CheckedRows(ModelView view, ParameterRecord table, RowsCommand command) {
    void release() {
      OffHeap.free(command.values());
    }
  }

  /** A pull whose keys are as they must be. */
  @SuppressWarnings("ArrayRecordComponent") // read in a loop, and never changed
  record CheckedPull(ParameterRecord table, Codec codec, long[] keys) {
    long rowBytes() {
      return codec.bytes(DType.F32, table.form().dim());
    }
  }

  /** Checks a pull; nothing was read when this throws. */
  CheckedPull check(PullRowsRequest request) {
    ModelView view =
        blocks.model(request.getModelId(), request.getCatalogIndex(), request.getLoading());
    ParameterRecord table = view.record(request.getTableId());
    String name = view.name(request.getTableId());
    RowsCheck.checkTable(name, table);
    Codec codec = pullCodec(name, table, request.getCodecValue());
    long[] keys = new long[request.getKeysCount()];
    for (int i = 0; i < keys.length; i++) {
      keys[i] = request.getKeys(i);
    }
    CheckedPull pull = new CheckedPull(table, codec, keys);
    if (keys.length > Limits.MESSAGE_ROWS
        || keys.length * pull.rowBytes() > Limits.PULL_ROWS_BYTES) {
      throw limit(keys.length, pull.rowBytes());
    }
    int from = 0;
    int before = -1;
    for (ShardRows rows : request.getShardsList()) {
      blocks.checkShard(rows.getShard());
      if (rows.getShard() <= before
          || rows.getCount() < 1
          || rows.getCount() > keys.length - from) {
        throw shards(rows, before, keys.length - from);
      }
      checkKeys(name, table, rows.getShard(), keys, from, from + rows.getCount());
      before = rows.getShard();
      from += rows.getCount();
    }
    if (from != keys.length) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "the request has %d keys, its shards count %d".formatted(keys.length, from),
          "value",
          from,
          "expected",
          keys.length);
    }
    return pull;
  }

  private static Codec pullCodec(String name, ParameterRecord table, int id) {
    Codec codec = id == 0 ? table.codec() : BlockRequests.pullCodec("the pull", id);
    if (!codec.computable()) {
      throw new Refusal(
          Reason.CODEC_INVALID,
          "rows of %s can't be pulled as %s: allowed=%s"
              .formatted(name, codec.label(), Codec.storableLabels()),
          "value",
          codec.label());
    }
    return codec;
  }

  /** Checks a scan, whose keys are not known before. */
  CheckedPull check(ScanRowsRequest request) {
    ModelView view =
        blocks.model(request.getModelId(), request.getCatalogIndex(), request.getLoading());
    blocks.checkShard(request.getShard());
    ParameterRecord table = view.record(request.getTableId());
    String name = view.name(request.getTableId());
    RowsCheck.checkTable(name, table);
    Codec codec = pullCodec(name, table, request.getCodecValue());
    if (request.getForm() == ScanForm.UNRECOGNIZED) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "form of a scan: value=%d allowed=0..3 (VALUES, KEYS, WHOLE, SUMMARY)"
              .formatted(request.getFormValue()),
          "value",
          request.getFormValue());
    }
    boolean recoded = request.getForm() == ScanForm.SCAN_VALUES;
    return new CheckedPull(table, recoded ? codec : table.codec(), new long[0]);
  }

  private static Refusal shards(ShardRows rows, int before, int left) {
    return new Refusal(
        Reason.REQUEST_INVALID,
        "shards of a request rise and have keys: shard=%d after %d count=%d allowed=1..%d"
            .formatted(rows.getShard(), before, Integer.toUnsignedLong(rows.getCount()), left),
        "value",
        rows.getShard());
  }

  private static Refusal limit(long keys, long rowBytes) {
    long most = Math.min(Limits.MESSAGE_ROWS, Limits.PULL_ROWS_BYTES / rowBytes);
    return new Refusal(
        Reason.LIMIT,
        "rows of %d bytes of one answer: value=%d limit=%d; send several requests"
            .formatted(rowBytes, keys, most),
        "limit-name",
        "pull-rows",
        "value",
        keys,
        "limit",
        most);
  }

  /** Whether keys rise and lie on the shard they were sent to. */
  private void checkKeys(
      String name, ParameterRecord table, int shard, long[] keys, int from, int to) {
    RowsCheck.checkKeys(name, keys, from, to);
    for (int i = from; i < to; i++) {
      int own = blocks.shardOf(table.id(), keys[i]);
      if (own != shard) {
        throw new Refusal(
            Reason.KEYS_INVALID,
            "key %d of %s lies on shard %d: value=%d".formatted(keys[i], name, own, shard),
            "parameter",
            name,
            "value",
            shard,
            "expected",
            own);
      }
    }
  }

  /**
   * Checks a push and receives its values, which the caller releases; nothing was changed when this
   * throws.
   */
  CheckedRows check(PushRowsHeader header, Frame<PushRowsHeader> frame) {
    ModelView view =
        blocks.model(header.getModelId(), header.getCatalogIndex(), header.getLoading());
    blocks.requireSession(header.getSession());
    BlockRequests.checkSeq(header.getSeq(), header.getAckedBelow());
    blocks.checkShard(header.getShard());
    if (header.getExpectTerm() != 0
        && view.model().getSpec().getDurability() != Durability.CHECKPOINTED) {
      throw new Refusal(
          Reason.REQUEST_INVALID, "expect_term is for CHECKPOINTED models: leave it 0");
    }
    if (header.getKeysCount() == 0 && header.getStep() == 0) {
      throw new Refusal(
          Reason.REQUEST_INVALID, "a push names at least one row, unless it is part of a step");
    }
    if (frame.payloadBytes() > Limits.PUSH_BYTES) {
      throw BlockRequests.limit("payload bytes of a push", frame.payloadBytes(), Limits.PUSH_BYTES);
    }
    ParameterRecord table = view.record(header.getTableId());
    String name = view.name(header.getTableId());
    RowsCheck.checkTable(name, table);
    long[] keys = new long[header.getKeysCount()];
    for (int i = 0; i < keys.length; i++) {
      keys[i] = header.getKeys(i);
    }
    RowsCommand command =
        new RowsCommand(
            new Tag(header.getSession(), header.getSeq(), header.getAckedBelow()),
            BlockRequests.operation(header.getOperationValue()),
            table.id(),
            BlockRequests.codec(name, header.getCodecValue()),
            keys,
            MemorySegment.NULL);
    RowsCheck.check(name, table, command, frame.payloadBytes());
    long touched = (long) keys.length * table.rowBytes();
    if (touched > Limits.TOUCHED_BYTES) {
      throw BlockRequests.limit(
          "bytes of the rows that a push touches", touched, Limits.TOUCHED_BYTES);
    }
    checkKeys(name, table, header.getShard(), keys, 0, keys.length);
    MemorySegment values = OffHeap.allocate(frame.payloadBytes());
    try {
      frame.read(values);
      checkValues(view, name, header, command, values);
    } catch (RuntimeException e) {
      OffHeap.free(values);
      throw e;
    }
    return new CheckedRows(
        view,
        table,
        new RowsCommand(
            command.tag(), command.operation(), table.id(), command.codec(), keys, values));
  }

  /** What a push says of the step that it is a part of. */
  static Trainer.Step step(PushRowsHeader header, RowsCommand push) {
    if (header.getStep() == 0) {
      return Trainer.Step.NONE;
    }
    Crc32c crc = new Crc32c();
    crc.update(MemorySegment.ofArray(push.keys()));
    int ofValues = header.hasCrc32C() ? header.getCrc32C() : Crc32c.of(push.values());
    crc.update(MemorySegment.ofArray(new int[] {ofValues}));
    return new Trainer.Step(
        header.getStep(),
        header.getRank(),
        header.getPart(),
        header.getParts(),
        crc.value(),
        StepNeeds.NONE,
        null,
        false);
  }

  private static void checkValues(
      ModelView view,
      String name,
      PushRowsHeader header,
      RowsCommand command,
      MemorySegment values) {
    if (header.hasCrc32C()) {
      int crc = Crc32c.of(values);
      if (crc != header.getCrc32C()) {
        throw new Refusal(
            Reason.CHECKSUM,
            "rows of %s arrived damaged: CRC-32C sent=%08x computed=%08x"
                .formatted(name, header.getCrc32C(), crc),
            "parameter",
            name);
      }
    }
    if (view.model().getSpec().getAllowNonfinite()) {
      return;
    }
    ParameterRecord table = view.record(header.getTableId());
    int dim = table.form().dim();
    Codec codec = command.codec();
    int rows = command.keys().length;
    boolean whole = command.operation() == PushCommand.Operation.RESTORE;
    long rowBytes = whole ? RowScan.wholeBytes(table) : codec.bytes(DType.F32, dim);
    long first = whole ? Integer.BYTES : 0;
    int bad = -1;
    if (codec.group() == 1 && !whole) {
      bad = codec.firstNonFinite(Kernels.best(), values, 0, rows * dim);
    } else {
      for (int row = 0; row < rows && bad < 0; row++) {
        int at = codec.firstNonFinite(Kernels.best(), values, row * rowBytes + first, dim);
        bad = at < 0 ? -1 : row * dim + at;
      }
    }
    if (bad >= 0) {
      throw new Refusal(
          Reason.NONFINITE,
          "value %d of the row of key %d of %s is NaN or infinite; a model created with"
                  .formatted(bad % dim, command.keys()[bad / dim], name)
              + " allow_nonfinite takes it",
          "parameter",
          name,
          "key",
          command.keys()[bad / dim],
          "element",
          bad % dim);
    }
  }
}
