package io.tensorhold.server.rpc;

import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.HeldMemory;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PartCheck;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.Unit;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The payload of a push, received into memory where it stays until the push was taken, and as long
 * as somebody holds it.
 *
 * <p>There is room for the head of a log entry in front of it. A whole block, assigned as it is
 * stored, is received into a block of its own, which the shard may adopt. Bytes are copied,
 * checksummed and scanned for NaN a chunk at a time, so that they come from memory once.
 */
final class PushPayload {
  /**
   * A chunk fits the processor's second-level cache several times; elements of every codec's group
   * divide it.
   */
  private static final int CHUNK_ELEMENTS = 16 << 10;

  private static final int CHUNK_BYTES = 64 << 10;

  private final MemorySegment bytes;
  private final @Nullable HeldMemory memory;
  private final @Nullable Unit block;
  private long received;

  private PushPayload(MemorySegment bytes, @Nullable HeldMemory memory, @Nullable Unit block) {
    this.bytes = bytes;
    this.memory = memory;
    this.block = block;
  }

  /**
   * Room for the payload: a block where it makes one, else memory of its own.
   *
   * @param factors that its step has already; null: none
   */
  static PushPayload room(
      ModelView view,
      Operation operation,
      List<Part> parts,
      @Nullable StepFactors factors,
      long bytes) {
    if (parts.size() == 1
        && makesBlock(view.record(parts.getFirst().parameter()), operation, parts.getFirst())) {
      Part part = parts.getFirst();
      Unit unit = Unit.toReceive(view.record(part.parameter()), part.block());
      return new PushPayload(BlockLayout.weights(unit.memory()), null, unit);
    }
    HeldMemory memory = HeldMemory.allocate(Entry.headRoom(1, parts, factors), bytes);
    return new PushPayload(memory.content(), memory, null);
  }

  /** Whether a push of this one part makes a whole block as it is stored. */
  private static boolean makesBlock(ParameterRecord parameter, Operation operation, Part part) {
    return operation == Operation.ASSIGN
        && part.runs().length == 0
        && part.codec() == parameter.codec()
        && parameter.stateBytes(part.block()) == 0;
  }

  /** The push of these parts, once they have been received. */
  PushCommand command(
      Tag tag, Operation operation, List<Part> parts, PushCommand.@Nullable Factors factors) {
    return new PushCommand(List.of(tag), operation, parts, bytes, factors, block, memory);
  }

  /**
   * Receives the next part.
   *
   * @param parameter that it is for
   * @param name of the parameter, for errors
   * @param elements that the part holds
   * @param crc expected; null: not checked
   * @param finite whether NaN and infinity are refused
   */
  void receive(
      Frame<?> frame,
      ParameterRecord parameter,
      String name,
      Part part,
      int elements,
      @Nullable Integer crc,
      boolean finite) {
    Crc32c sum = new Crc32c();
    int unscanned = 0;
    MemorySegment whole = bytes.asSlice(received, part.payloadBytes());
    long end = received + part.payloadBytes();
    boolean scanned = finite && part.codec().fixedSize();
    long chunk = scanned ? part.codec().bytes(DType.F32, CHUNK_ELEMENTS) : CHUNK_BYTES;
    int nonFinite = -1;
    while (received < end) {
      MemorySegment piece = bytes.asSlice(received, Math.min(chunk, end - received));
      frame.read(piece);
      if (crc != null) {
        sum.update(piece);
      }
      if (scanned && nonFinite < 0) {
        int count = Math.min(CHUNK_ELEMENTS, elements - unscanned);
        int at = part.codec().firstNonFinite(Kernels.best(), piece, 0, count);
        nonFinite = at < 0 ? -1 : unscanned + at;
        unscanned += count;
      }
      received += piece.byteSize();
    }
    if (crc != null && crc != sum.value()) {
      throw new Refusal(
          Reason.CHECKSUM,
          "block %d of %s arrived damaged: CRC-32C sent=%08x computed=%08x"
              .formatted(part.block(), name, crc, sum.value()),
          "parameter",
          name);
    }
    PartCheck.checkPayload(name, parameter, part, whole);
    if (finite && !scanned) {
      nonFinite = part.codec().firstNonFinite(Kernels.best(), whole, 0, elements);
    }
    if (nonFinite >= 0) {
      throw new Refusal(
          Reason.NONFINITE,
          "value %d of the payload for block %d of %s is NaN or infinite; a model created with"
                  .formatted(nonFinite, part.block(), name)
              + " allow_nonfinite takes it",
          "parameter",
          name,
          "block",
          part.block(),
          "element",
          nonFinite);
    }
  }

  /** Lets go: the memory is freed unless it is held, or the shard has adopted the block. */
  void release() {
    if (block != null) {
      block.release();
    }
    if (memory != null) {
      memory.release();
    }
  }
}
