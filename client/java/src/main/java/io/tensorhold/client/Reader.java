package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.BlockRange;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * Pulls values that are as fresh as was asked for: see {@link TensorholdClient#reader}.
 * Thread-safe; it lives as long as its client.
 */
public final class Reader {
  private final ClusterConnection cluster;
  private final Duration maxStaleness;

  Reader(ClusterConnection cluster, Duration maxStaleness) {
    if (maxStaleness.isNegative()
        || (!maxStaleness.isZero() && maxStaleness.toMillis() == 0)
        || maxStaleness.toDays() > 1) {
      throw new IllegalArgumentException(
          "maxStaleness: value=%s allowed=0, or 1 ms to 1 day".formatted(maxStaleness));
    }
    this.cluster = cluster;
    this.maxStaleness = maxStaleness;
  }

  /**
   * Pulls a whole tensor into memory of exactly its size under the codec.
   *
   * @param codec null: as stored
   */
  public void pull(Parameter parameter, @Nullable Codec codec, MemorySegment target) {
    if (parameter.isView()) {
      pull(parameter, Slice.all(parameter.shape()), codec, target);
      return;
    }
    Codec sent = codec == null ? parameter.codec() : codec;
    TensorParts.requireBytes(parameter.name(), parameter.bytes(sent), target);
    pullBlocks(
        parameter.model(),
        List.of(TensorholdClient.range(parameter, 0, parameter.blocks())),
        codec,
        (header, payload) ->
            MemorySegment.copy(
                payload, 0, target, parameter.offset(header.getBlock(), sent), payload.byteSize()));
  }

  /** Pulls a slice, row-major, into memory of exactly its size; the codec is f32, f16 or bf16. */
  public void pull(Parameter parameter, Slice slice, @Nullable Codec codec, MemorySegment target) {
    Codec sent = codec == null ? parameter.codec() : codec;
    long width = TensorParts.width(parameter, sent);
    TensorParts.requireBytes("the slice of " + parameter.name(), width * slice.elements(), target);
    TreeMap<Integer, List<TensorParts.Run>> byBlock = new TreeMap<>();
    for (TensorParts.Run run : TensorParts.runs(parameter, slice, width)) {
      byBlock.computeIfAbsent(run.block(), block -> new ArrayList<>()).add(run);
    }
    List<BlockRange> ranges =
        byBlock.keySet().stream()
            .map(block -> TensorholdClient.range(parameter, block, 1))
            .toList();
    pullBlocks(
        parameter.model(),
        ranges,
        sent,
        (header, payload) -> {
          for (TensorParts.Run run : byBlock.get(header.getBlock())) {
            MemorySegment.copy(
                payload, width * run.first(), target, run.sourceOffset(), width * run.count());
          }
        });
  }

  /** Pulls a tensor, or a slice of it, in the background. */
  public CompletableFuture<Void> pullAsync(
      Parameter parameter, @Nullable Slice slice, @Nullable Codec codec, MemorySegment target) {
    return CompletableFuture.runAsync(
        () -> {
          if (slice == null) {
            pull(parameter, codec, target);
          } else {
            pull(parameter, slice, codec, target);
          }
        },
        cluster.executor());
  }

  /** A whole tensor as floats, row-major. */
  public float[] pullFloats(Parameter parameter) {
    float[] values = new float[Math.toIntExact(parameter.elements())];
    pull(parameter, Codec.F32, MemorySegment.ofArray(values));
    return values;
  }

  /** Streams blocks from all their servers into a sink, in no particular order. */
  public void pullBlocks(
      ModelHandle model, List<BlockRange> ranges, @Nullable Codec codec, BlockSink sink) {
    new BlockPuller(cluster, model, ranges, codec, maxStaleness, sink).run();
  }

  /** Streams every block of a model into a sink. */
  public void pullModel(ModelHandle model, @Nullable Codec codec, BlockSink sink) {
    pullBlocks(
        model,
        model.parameters().stream().map(p -> TensorholdClient.range(p, 0, p.blocks())).toList(),
        codec,
        sink);
  }
}
