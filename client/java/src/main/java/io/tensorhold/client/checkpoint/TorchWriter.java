package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.numerics.DType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A file of PyTorch being written, which {@code torch.load(weights_only=True)} takes: a dict of
 * tensors in the order they were given. Each has a storage of its own, but for aliases, which lie
 * in the storage of the tensor that they are part of.
 */
public final class TorchWriter implements CheckpointWriter {
  private static final String ROOT = "archive/";

  private final Path target;
  private final StoredZip zip;
  private final Map<String, Storage> storages;

  private record Storage(String record, long bytes) {}

  private TorchWriter(Path target, StoredZip zip, Map<String, Storage> storages) {
    this.target = target;
    this.zip = zip;
    this.storages = storages;
  }

  /**
   * Starts a file with the tensors it will have.
   *
   * @param tensors all of them, aliases too; the bytes of aliases are not written
   * @throws CheckpointException if PyTorch has no such dtype, or the target cannot be a file
   */
  public static TorchWriter create(Path target, List<TensorSpec> tensors, List<TensorAlias> aliases)
      throws IOException {
    Map<String, TensorAlias> aliasOf = new HashMap<>();
    aliases.forEach(alias -> aliasOf.put(alias.name(), alias));
    Map<String, TensorSpec> specs = new HashMap<>();
    Map<String, Storage> storages = new HashMap<>();
    List<Storage> ordered = new ArrayList<>();
    for (TensorSpec spec : tensors) {
      if (!TorchObjects.DTYPES.containsKey(spec.dtype())) {
        throw new CheckpointException(
            target,
            "PyTorch has no dtype for "
                + spec.dtype()
                + ", which is the tensor "
                + quote(spec.name())
                + "; export to .safetensors or .gguf");
      }
      if (specs.put(spec.name(), spec) != null) {
        throw new CheckpointException(target, "tensor " + quote(spec.name()) + " is there twice");
      }
      if (!aliasOf.containsKey(spec.name())) {
        Storage storage = new Storage("data/" + ordered.size(), spec.bytes());
        storages.put(spec.name(), storage);
        ordered.add(storage);
      }
    }
    PickleText pickle = new PickleText().dict();
    for (TensorSpec spec : tensors) {
      TensorAlias alias = aliasOf.get(spec.name());
      TensorSpec owner = alias == null ? spec : specs.get(alias.of());
      long first = alias == null ? 0 : alias.firstElement();
      pickle.text(spec.name());
      tensor(pickle, spec, first, storages.get(owner.name()), owner);
    }
    byte[] pkl = pickle.endDict().bytes();
    StoredZip zip = StoredZip.create(target, ROOT);
    try {
      zip.add("data.pkl", ByteBuffer.wrap(pkl));
      zip.add("byteorder", text("little"));
      zip.add("version", text("3\n"));
      for (Storage storage : ordered) {
        zip.reserve(storage.record(), storage.bytes());
      }
      return new TorchWriter(target, zip, storages);
    } catch (Throwable e) {
      zip.close();
      throw e;
    }
  }

  /** torch._utils._rebuild_tensor_v2 or _v3 on the owner's storage. */
  private static void tensor(
      PickleText pickle, TensorSpec spec, long first, Storage storage, TensorSpec owner) {
    DType dtype = spec.dtype();
    String typed = TorchObjects.STORAGES.get(dtype);
    pickle.global(typed == null ? TorchObjects.TENSOR_OF_DTYPE : TorchObjects.TENSOR).mark();
    pickle.mark().text("storage").global(typed == null ? TorchObjects.UNTYPED : typed);
    pickle.text(storage.record().substring("data/".length())).text("cpu");
    pickle.number(typed == null ? storage.bytes() : owner.shape().elements());
    pickle.tuple().persistent();
    pickle.number(first).mark();
    long[] dims = spec.shape().dims();
    for (long dim : dims) {
      pickle.number(dim);
    }
    pickle.tuple().mark();
    for (int d = 0; d < dims.length; d++) {
      long stride = 1;
      for (int inner = d + 1; inner < dims.length; inner++) {
        stride *= Math.max(1, dims[inner]);
      }
      pickle.number(stride);
    }
    pickle.tuple().no().global(TorchObjects.ORDERED_DICT).emptyTuple().call();
    if (typed == null) {
      pickle.global(TorchObjects.DTYPES.get(dtype));
    }
    pickle.tuple().call();
  }

  private static ByteBuffer text(String text) {
    return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
  }

  @Override
  public void write(String tensor, long byteOffset, ByteBuffer data) throws IOException {
    Storage storage = storages.get(tensor);
    if (storage == null) {
      throw new IllegalArgumentException("no tensor " + quote(tensor) + " with bytes in " + target);
    }
    zip.write(storage.record(), byteOffset, data);
  }

  @Override
  public void finish() throws IOException {
    zip.finish();
  }

  @Override
  public void close() throws IOException {
    zip.close();
  }
}
