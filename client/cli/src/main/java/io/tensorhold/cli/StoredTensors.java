package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.TensorSource;
import io.tensorhold.numerics.Codec;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.List;

/** The tensors of a stored model as bytes of their own dtype, a range at a time. */
public final class StoredTensors implements TensorSource {
  /** Bytes that a reader asks for at once, for a good rate within bounded memory. */
  public static final int CHUNK_BYTES = 32 << 20;

  private final TensorholdClient client;
  private final ModelHandle model;

  /** The tensors of a model. */
  public StoredTensors(TensorholdClient client, ModelHandle model) {
    this.client = client;
    this.model = model;
  }

  @Override
  public void read(String name, long offset, ByteBuffer target) throws IOException {
    Parameter parameter = model.parameter(name);
    Codec natural = Codec.nativeOf(parameter.dtype());
    long blockBytes = natural.bytes(parameter.dtype(), parameter.blockElements());
    long end = offset + target.remaining();
    if (end > parameter.bytes(natural)) {
      throw new CliFailure(
          "%s has %d bytes: asked for %d to %d"
              .formatted(name, parameter.bytes(natural), offset, end));
    }
    int first = (int) (offset / blockBytes);
    int last = (int) ((end + blockBytes - 1) / blockBytes);
    MemorySegment memory = MemorySegment.ofBuffer(target);
    client.pullBlocks(
        model,
        List.of(TensorholdClient.range(parameter, first, last - first)),
        natural,
        (header, payload) -> {
          long at = header.getBlock() * blockBytes;
          long from = Math.max(offset, at);
          long to = Math.min(end, at + payload.byteSize());
          MemorySegment.copy(payload, from - at, memory, from - offset, to - from);
        });
    target.position(target.limit());
  }
}
