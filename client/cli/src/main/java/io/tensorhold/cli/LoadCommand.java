package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.SelectedCheckpoint;
import io.tensorhold.client.checkpoint.SelectedCheckpoint.Rename;
import io.tensorhold.client.checkpoint.TensorAlias;
import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.StragglerPolicy;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Stores a checkpoint. */
@Command(
    name = "load",
    mixinStandardHelpOptions = true,
    description =
        "Store a checkpoint: a .safetensors file, a model.safetensors.index.json, a .pt or .bin file of"
            + " PyTorch, a .gguf file, an .onnx file, or a folder of Hugging Face.",
    footer = {
      "",
      "The model is visible when all of it is stored. A load that was killed can be run again.",
      "",
      "Examples:",
      "  tensorhold load model.safetensors --name bert",
      "  tensorhold load model.onnx --name bert-q8 --codec q8_0",
      "  tensorhold load all-MiniLM-L6-v2/ --name minilm --only 'encoder.*' --dtype bf16",
      "  tensorhold load checkpoint.pt --name net --only 'model.*' --rename '^model\\.='",
      "  tensorhold load model.safetensors --name bert-train --optimizer adamw --hyper lr=1e-4"
    })
final class LoadCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(paramLabel = "FILE", description = "The checkpoint.")
  private Path file = Path.of("");

  @Option(names = "--name", required = true, description = "Name of the model.")
  private String name = "";

  @Option(
      names = "--codec",
      description =
          "Store f32, f16 and bf16 tensors as f32, f16, bf16, fp8_e4m3, q8_0, q8_linear, q4_0 or nf4"
              + " (default: each as it is).")
  private @Nullable String codec;

  @Option(
      names = "--dtype",
      description = "Turn tensors of f64, f32, f16 and bf16 into f32, f16 or bf16.")
  private @Nullable String dtype;

  @Option(
      names = "--only",
      paramLabel = "PATTERN",
      description = "Take the tensors whose names match, * being any characters; may be repeated.")
  private List<String> only = List.of();

  @Option(
      names = "--rename",
      paramLabel = "REGEX=TEXT",
      description =
          "Replace what matches in every name, after --only; may be repeated: ^model\\.(.*)=$1")
  private List<String> rename = List.of();

  @Mixin private OptimizerOptions optimizer = new OptimizerOptions();

  @Option(names = "--durability", description = "logged (default) or checkpointed.")
  private Durability durability = Durability.LOGGED;

  @Option(names = "--consistency", description = "asp (default), bsp or ssp.")
  private Consistency consistency = Consistency.ASP;

  @Option(names = "--workers", description = "Ranks; bsp needs them, others: 0, as many as join.")
  private int workers;

  @Option(names = "--staleness", description = "Steps that an ssp worker may be ahead.")
  private int staleness;

  @Option(
      names = "--staleness-aware-rate",
      description = "asp, ssp: divide the learning rate of a stale gradient by 1 + its staleness.")
  private boolean stalenessAwareRate;

  @Option(names = "--on-straggler", description = "wait (default), proceed or, with bsp, fail.")
  private StragglerPolicy onStraggler = StragglerPolicy.STRAGGLER_POLICY_UNSPECIFIED;

  @Option(
      names = "--straggler-timeout",
      paramLabel = "MS",
      description = "Milliseconds until a rank is late; default 30000.")
  private int stragglerTimeout;

  @Option(
      names = "--allow-nonfinite",
      description = "Take NaN and infinities, in the file and in later pushes.")
  private boolean allowNonfinite;

  @Override
  public Integer call() throws Exception {
    Codec stored = codec == null ? null : Codec.ofName(codec);
    DType turned = dtype == null ? null : DType.ofName(dtype.toUpperCase(Locale.ROOT));
    if (turned != null && !turned.computable()) {
      throw new CliFailure("--dtype: value=%s allowed=f32, f16, bf16".formatted(dtype));
    }
    List<Rename> renames = rename.stream().map(Rename::parse).toList();
    try (Checkpoint whole = Checkpoint.open(file)) {
      Checkpoint checkpoint = new SelectedCheckpoint(file, whole, only, renames);
      load(checkpoint, stored, turned);
    }
    return 0;
  }

  private void load(Checkpoint checkpoint, @Nullable Codec stored, @Nullable DType turned)
      throws IOException {
    try (TensorholdClient client = globals.connect()) {
      ModelSpec.Builder spec = ModelLoader.spec(name, checkpoint, stored, turned);
      spec.setDurability(durability).setConsistency(consistency).setWorkers(workers);
      spec.setStaleness(staleness).setOnStraggler(onStraggler);
      spec.setStragglerTimeoutMs(stragglerTimeout);
      spec.setStalenessAwareRate(stalenessAwareRate);
      spec.setAllowNonfinite(allowNonfinite);
      spec.setOptimizer(optimizer.spec());
      Set<String> aliases =
          checkpoint.aliases().stream().map(TensorAlias::name).collect(Collectors.toSet());
      long bytes =
          Stream.concat(checkpoint.tensors().stream(), checkpoint.attachments().stream())
              .filter(tensor -> !aliases.contains(tensor.name()))
              .mapToLong(TensorEntry::bytes)
              .sum();
      ModelHandle model;
      double seconds;
      try (Progress progress = new Progress("load " + name, bytes)) {
        model = new ModelLoader(client, progress::add).load(checkpoint, spec.build());
        seconds = progress.seconds();
      }
      report(model, bytes, seconds);
    }
  }

  private void report(ModelHandle model, long read, double seconds) {
    long stored = model.parameters().stream().mapToLong(Parameter::bytes).sum();
    long elements = model.parameters().stream().mapToLong(Parameter::elements).sum();
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("name", name);
    document.put("id", model.id());
    document.put("tensors", model.parameters().size());
    document.put("aliases", model.aliases().size());
    document.put("attachments", model.attachments().size());
    document.put("elements", elements);
    document.put("bytes_read", read);
    document.put("bytes_stored", stored);
    document.put("seconds", seconds);
    globals
        .output()
        .print(
            document,
            () ->
                Output.line(
                    "%s: %d tensors%s%s, %s elements, %s read, %s stored (one replica) in %.1f s, %s/s",
                    name,
                    model.parameters().size(),
                    count(model.aliases().size(), "alias", "aliases"),
                    count(model.attachments().size(), "file", "files"),
                    Output.count(elements),
                    Output.bytes(read),
                    Output.bytes(stored),
                    seconds,
                    Output.bytes((long) (read / Math.max(seconds, 1e-3)))));
  }

  private static String count(int count, String one, String many) {
    return count == 0 ? "" : ", %d %s".formatted(count, count == 1 ? one : many);
  }
}
