package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.TensorSource;
import io.tensorhold.numerics.Codec;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.function.Function;

/**
 * The tensors of a stored model as bytes, a range at a time: of their own dtype, or in another form
 * that is asked for.
 */
public final class StoredTensors implements TensorSource {
  /** Bytes that a reader asks for at once, for a good rate within bounded memory. */
  public static final int CHUNK_BYTES = 32 << 20;

  private final TensorholdClient client;
  private final ModelHandle model;
  private final Function<Parameter, Codec> form;

  /** The tensors of a model in their own dtypes. */
  public StoredTensors(TensorholdClient client, ModelHandle model) {
    this(client, model, parameter -> Codec.nativeOf(parameter.dtype()));
  }

  /**
   * The tensors of a model.
   *
   * @param form what the bytes of each are encoded in
   */
  public StoredTensors(
      TensorholdClient client, ModelHandle model, Function<Parameter, Codec> form) {
    this.client = client;
    this.model = model;
    this.form = form;
  }

  @Override
  public void read(String name, long offset, ByteBuffer target) {
    read(model.parameter(name), offset, target);
  }

  /** As {@link #read(String, long, ByteBuffer)}, of a tensor, a view or an attachment. */
  void read(Parameter parameter, long offset, ByteBuffer target) {
    Codec codec = form.apply(parameter);
    long bytes = codec.bytes(parameter.dtype(), parameter.elements());
    if (target.remaining() > bytes - offset) {
      throw new CliFailure(
          "%s has %d bytes: asked for %d to %d"
              .formatted(parameter.name(), bytes, offset, offset + target.remaining()));
    }
    long blockBytes = codec.bytes(parameter.dtype(), parameter.blockElements());
    long start = offset + codec.bytes(parameter.dtype(), parameter.firstElement());
    long end = start + target.remaining();
    int first = (int) (start / blockBytes);
    int last = (int) ((end + blockBytes - 1) / blockBytes);
    MemorySegment memory = MemorySegment.ofBuffer(target);
    client.pullBlocks(
        model,
        List.of(TensorholdClient.range(parameter, first, last - first)),
        codec,
        (header, payload) -> {
          long at = header.getBlock() * blockBytes;
          long from = Math.max(start, at);
          long to = Math.min(end, at + payload.byteSize());
          MemorySegment.copy(payload, from - at, memory, from - start, to - from);
        });
    target.position(target.limit());
  }
}
