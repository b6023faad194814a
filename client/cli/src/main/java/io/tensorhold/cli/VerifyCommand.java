package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.client.checkpoint.TensorSource;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Compares tensors byte by byte. */
@Command(
    name = "verify",
    mixinStandardHelpOptions = true,
    description =
        "Compare the tensors of two checkpoints, or of a checkpoint and a stored model, by SHA-256.",
    footer = {
      "",
      "Exit status 1: a tensor differs or is missing.",
      "",
      "Examples:",
      "  tensorhold verify model.safetensors exported.safetensors",
      "  tensorhold verify model.onnx --model bert"
    })
final class VerifyCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(arity = "1..2", paramLabel = "FILE", description = "One or two checkpoints.")
  private List<Path> files = List.of();

  @Option(names = "--model", paramLabel = "NAME", description = "The stored model.")
  private @Nullable String model;

  @Override
  public Integer call() throws Exception {
    if ((files.size() == 2) == (model != null)) {
      throw new CliFailure("verify takes two files, or one file and --model NAME");
    }
    Map<String, String> left = digests(files.getFirst());
    Map<String, String> right;
    if (model == null) {
      right = digests(files.get(1));
    } else {
      try (TensorholdClient client = globals.connect()) {
        ModelHandle stored = client.model(model);
        TableText.refuse(stored, "verify");
        right = digests(client, stored, codecs(files.getFirst()));
      }
    }
    return report(left, right);
  }

  private int report(Map<String, String> left, Map<String, String> right) {
    Map<String, String> all = new TreeMap<>(left);
    right.forEach(all::putIfAbsent);
    List<Map<String, Object>> tensors = new ArrayList<>();
    List<List<String>> rows = new ArrayList<>();
    int same = 0;
    for (String name : all.keySet()) {
      String a = left.getOrDefault(name, "missing");
      String b = right.getOrDefault(name, "missing");
      boolean equal = a.equals(b);
      same += equal ? 1 : 0;
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("name", name);
      entry.put("equal", equal);
      entry.put("sha256", a);
      if (!equal) {
        entry.put("sha256_other", b);
      }
      tensors.add(entry);
      rows.add(List.of(equal ? "same" : "DIFFERS", name, equal ? a : a + " / " + b));
    }
    boolean equal = same == all.size();
    String verdict = "%d of %d tensors are byte-identical".formatted(same, all.size());
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("equal", equal);
    document.put("tensors", tensors);
    globals
        .output()
        .print(
            document,
            () -> {
              Output.table(List.of("", "TENSOR", "SHA-256"), rows);
              Output.line("%s", verdict);
            });
    return equal ? 0 : 1;
  }

  /** SHA-256 of each tensor's dtype, shape and bytes in a checkpoint. */
  static Map<String, String> digests(Path file) throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      Map<String, TensorEntry> tensors = new TreeMap<>();
      checkpoint.tensors().forEach(tensor -> tensors.put(tensor.name(), tensor));
      Map<String, String> digests = new TreeMap<>();
      for (TensorEntry tensor : tensors.values()) {
        TensorSource source = (name, at, target) -> checkpoint.read(tensor, at, target);
        digests.put(
            tensor.name(),
            digest(
                tensor.name(),
                type(tensor.dtype(), tensor.shape(), tensor.codec()),
                tensor.bytes(),
                source));
      }
      return digests;
    }
  }

  private static String type(DType dtype, Shape shape, Codec codec) {
    return dtype + " " + shape + (codec == Codec.nativeOf(dtype) ? "" : " as " + codec.label());
  }

  /** What the tensors of a file are encoded in. */
  private static Map<String, Codec> codecs(Path file) throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      return checkpoint.tensors().stream()
          .collect(Collectors.toMap(TensorEntry::name, TensorEntry::codec));
    }
  }

  /**
   * SHA-256 of each stored tensor, aliases too.
   *
   * @param codecs of a file: a tensor that is stored in the same is compared in it
   */
  private static Map<String, String> digests(
      TensorholdClient client, ModelHandle stored, Map<String, Codec> codecs) throws IOException {
    Function<Parameter, Codec> form =
        p -> p.codec() == codecs.get(p.name()) ? p.codec() : Codec.nativeOf(p.dtype());
    TensorSource source = new StoredTensors(client, stored, form);
    Map<String, Parameter> all = new TreeMap<>(stored.aliases());
    stored.parameters().forEach(p -> all.put(p.name(), p));
    Map<String, String> digests = new TreeMap<>();
    for (Map.Entry<String, Parameter> named : all.entrySet()) {
      Parameter p = named.getValue();
      String type = type(p.dtype(), p.shape(), form.apply(p));
      digests.put(named.getKey(), digest(named.getKey(), type, p.bytes(form.apply(p)), source));
    }
    return digests;
  }

  private static String digest(String name, String type, long bytes, TensorSource source)
      throws IOException {
    MessageDigest sha;
    try {
      sha = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
    ByteBuffer buffer = ByteBuffer.allocateDirect((int) Math.min(bytes, StoredTensors.CHUNK_BYTES));
    for (long at = 0; at < bytes; at += StoredTensors.CHUNK_BYTES) {
      buffer.clear().limit((int) Math.min(StoredTensors.CHUNK_BYTES, bytes - at));
      source.read(name, at, buffer);
      sha.update(buffer.flip());
    }
    return HexFormat.of().formatHex(sha.digest()) + " " + type;
  }
}
