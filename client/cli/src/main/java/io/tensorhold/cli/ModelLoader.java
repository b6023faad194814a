package io.tensorhold.cli;

import io.tensorhold.client.BlockPayload;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.TensorAlias;
import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.proto.v1.AliasSpec;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.function.LongConsumer;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Loads a checkpoint into the cluster, a few megabytes at a time.
 *
 * <p>The model stays hidden until the last block is acknowledged. A load that was killed is run
 * again: the same specification takes over what is there and assigns it anew, another one replaces
 * it.
 */
public final class ModelLoader {
  private static final int BUFFER_BYTES = 4 << 20;
  private static final int BUFFERS = 8;
  private static final int BLOCKS_PER_BATCH = 512;

  private final TensorholdClient client;
  private final BlockingQueue<MemorySegment> buffers = new ArrayBlockingQueue<>(BUFFERS);
  private final LongConsumer progress;

  /** A loader that tells its progress in bytes of the checkpoint. */
  public ModelLoader(TensorholdClient client, LongConsumer progress) {
    this.client = client;
    this.progress = progress;
  }

  /**
   * The specification of a checkpoint's model.
   *
   * @param codec for the tensors that can be computed with; null: each as it is
   */
  public static ModelSpec.Builder spec(String name, Checkpoint checkpoint, @Nullable Codec codec) {
    return spec(name, checkpoint, codec, null);
  }

  /**
   * The same, with another dtype for the tensors of floating point.
   *
   * @param dtype f32, f16 or bf16: what f64 and those three become; null: each what it is
   */
  static ModelSpec.Builder spec(
      String name, Checkpoint checkpoint, @Nullable Codec codec, @Nullable DType dtype) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder().setName(name).putAllMetadata(checkpoint.metadata());
    Map<String, TensorAlias> aliases =
        checkpoint.aliases().stream().collect(Collectors.toMap(TensorAlias::name, a -> a));
    for (TensorEntry tensor : checkpoint.tensors()) {
      List<Long> dims = Arrays.stream(tensor.shape().dims()).boxed().toList();
      TensorAlias alias = aliases.get(tensor.name());
      if (alias != null) {
        spec.addAliases(
            AliasSpec.newBuilder()
                .setName(tensor.name())
                .setOf(alias.of())
                .setFirstElement(alias.firstElement())
                .addAllDims(dims));
        continue;
      }
      boolean turned = dtype != null && isFloat(tensor.dtype());
      DType stored = turned ? dtype : tensor.dtype();
      ParameterSpec.Builder parameter =
          ParameterSpec.newBuilder().setName(tensor.name()).setDtypeValue(stored.id());
      parameter.addAllDims(dims);
      if (codec != null && stored.computable()) {
        parameter.setCodecValue(codec.id());
      } else if (!turned) {
        parameter.setCodecValue(tensor.codec().id());
      }
      spec.addParameters(parameter);
    }
    for (TensorEntry file : checkpoint.attachments()) {
      spec.addParameters(
          ParameterSpec.newBuilder()
              .setName(file.name())
              .setDtypeValue(file.dtype().id())
              .addDims(file.bytes())
              .setAttachment(true));
    }
    return spec;
  }

  private static boolean isFloat(DType dtype) {
    return dtype.computable() || dtype == DType.F64;
  }

  /** Loads the checkpoint as the specification says; the model is visible when this returns. */
  public ModelHandle load(Checkpoint checkpoint, ModelSpec spec) throws IOException {
    ModelHandle model = client.createLoading(spec, true);
    Map<String, TensorEntry> tensors = new HashMap<>();
    checkpoint.tensors().forEach(tensor -> tensors.put(tensor.name(), tensor));
    Map<String, TensorEntry> attachments = new HashMap<>();
    checkpoint.attachments().forEach(file -> attachments.put(file.name(), file));
    try (Arena arena = Arena.ofShared();
        Session session = client.openSession("load " + spec.getName())) {
      for (int i = 0; i < BUFFERS; i++) {
        buffers.add(arena.allocate(BUFFER_BYTES));
      }
      Batch batch = new Batch(session, model);
      for (Parameter parameter : model.parameters()) {
        batch.addAll(checkpoint, tensors.get(parameter.name()), parameter, arena);
      }
      for (Parameter parameter : model.attachments().values()) {
        batch.addAll(checkpoint, attachments.get(parameter.name()), parameter, arena);
      }
      batch.send();
      session.flush();
    }
    return client.publish(model);
  }

  private MemorySegment buffer() {
    try {
      return buffers.take();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CliFailure("interrupted");
    }
  }

  /** Blocks that are pushed together. */
  private final class Batch {
    private final Session session;
    private final ModelHandle model;
    private List<BlockPayload> blocks = new ArrayList<>();
    private MemorySegment memory = buffer();
    private long used;
    private long read;
    private @Nullable MemorySegment raw;
    private @Nullable MemorySegment values;

    Batch(Session session, ModelHandle model) {
      this.session = session;
      this.model = model;
    }

    void addAll(Checkpoint checkpoint, TensorEntry tensor, Parameter parameter, Arena arena)
        throws IOException {
      for (int block = 0; block < parameter.blocks(); block++) {
        add(checkpoint, tensor, parameter, block, arena);
      }
    }

    private void add(
        Checkpoint checkpoint, TensorEntry tensor, Parameter parameter, int block, Arena arena)
        throws IOException {
      Codec codec = parameter.codec();
      int elements = parameter.elementsIn(block);
      long bytes = codec.bytes(tensor.dtype(), elements);
      if (used + bytes > BUFFER_BYTES || blocks.size() == BLOCKS_PER_BATCH) {
        send();
        memory = buffer();
      }
      MemorySegment target = memory.asSlice(used, bytes);
      Codec natural = tensor.codec();
      long offset = natural.bytes(tensor.dtype(), (long) block * parameter.blockElements());
      long natives = natural.bytes(tensor.dtype(), elements);
      if (codec == natural && parameter.dtype() == tensor.dtype()) {
        checkpoint.read(tensor, offset, target.asByteBuffer());
      } else {
        if (raw == null) {
          raw = arena.allocate(BUFFER_BYTES);
          values = arena.allocate(BUFFER_BYTES);
        }
        checkpoint.read(tensor, offset, raw.asSlice(0, natives).asByteBuffer());
        MemorySegment f32 = java.util.Objects.requireNonNull(values);
        if (tensor.dtype() == DType.F64) {
          narrow(raw, f32, elements);
        } else {
          natural.decode(Kernels.best(), raw, 0, f32, 0, elements);
        }
        codec.encode(Kernels.best(), f32, 0, target, 0, elements);
      }
      blocks.add(new BlockPayload(parameter, block, codec, target));
      used += (bytes + 7) & ~7L;
      read += natives;
    }

    /** Doubles to floats, rounded to nearest, as PyTorch does before it narrows further. */
    private static void narrow(MemorySegment doubles, MemorySegment floats, int n) {
      for (int i = 0; i < n; i++) {
        double value = doubles.getAtIndex(ValueLayout.JAVA_DOUBLE_UNALIGNED, i);
        floats.setAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i, (float) value);
      }
    }

    void send() {
      MemorySegment sent = memory;
      long bytes = read;
      if (blocks.isEmpty()) {
        buffers.add(sent);
        return;
      }
      var _ =
          session
              .pushBlocks(model, Operation.ASSIGN, blocks)
              .whenComplete(
                  (done, failure) -> {
                    buffers.add(sent);
                    progress.accept(bytes);
                  });
      blocks = new ArrayList<>();
      used = 0;
      read = 0;
    }
  }
}
