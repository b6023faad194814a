package io.tensorhold.server.rpc;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.shard.Unit;
import io.tensorhold.server.store.BlockLayout;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/** Collects blocks for one message: their headers, their memory, and how to let go of it. */
final class BlockReader {
  private final IntFunction<ShardMachine> shards;
  private final List<BlockHeader> headers = new ArrayList<>();
  private final List<MemorySegment> pieces = new ArrayList<>();
  private final List<Runnable> releases = new ArrayList<>();
  private long bytes;

  /** Reads from the replicas that the function gives for their shards. */
  BlockReader(IntFunction<ShardMachine> shards) {
    this.shards = shards;
  }

  /** Adds a block, in the encoding asked for or, if that is null, as it is stored. */
  void add(int shard, ParameterRecord parameter, int block, @Nullable Codec codec) {
    Unit unit = shards.apply(shard).read(parameter, block);
    MemorySegment weights = BlockLayout.weights(unit.memory());
    long logIndex = BlockLayout.logIndex(unit.memory());
    long step = BlockLayout.step(unit.memory());
    Codec sent = codec == null ? parameter.codec() : codec;
    if (sent == parameter.codec()) {
      releases.add(unit::release);
    } else {
      MemorySegment encoded;
      try {
        encoded = encode(parameter, block, weights, sent);
      } finally {
        unit.release();
      }
      weights = encoded;
      releases.add(() -> OffHeap.free(encoded));
    }
    pieces.add(weights);
    bytes += weights.byteSize();
    headers.add(
        BlockHeader.newBuilder()
            .setParameterId(parameter.id())
            .setBlock(block)
            .setCodecValue(sent.id())
            .setPayloadBytes((int) weights.byteSize())
            .setLogIndex(logIndex)
            .setStep(step)
            .build());
  }

  private static MemorySegment encode(
      ParameterRecord parameter, int block, MemorySegment weights, Codec codec) {
    int elements = parameter.elementsIn(block);
    MemorySegment encoded = OffHeap.allocate(codec.bytes(parameter.dtype(), elements));
    if (codec == Codec.F32) {
      parameter.codec().decode(Kernels.best(), weights, 0, encoded, 0, elements);
      return encoded;
    }
    MemorySegment values = OffHeap.allocate(4L * elements);
    try {
      parameter.codec().decode(Kernels.best(), weights, 0, values, 0, elements);
      codec.encode(Kernels.best(), values, 0, encoded, 0, elements);
    } finally {
      OffHeap.free(values);
    }
    return encoded;
  }

  List<BlockHeader> headers() {
    return headers;
  }

  List<MemorySegment> pieces() {
    return pieces;
  }

  long bytes() {
    return bytes;
  }

  void release() {
    releases.forEach(Runnable::run);
    releases.clear();
  }
}
