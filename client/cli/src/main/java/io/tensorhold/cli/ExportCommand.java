package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.OnnxTemplate;
import io.tensorhold.client.checkpoint.TensorSource;
import io.tensorhold.server.base.ByteSize;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Writes a model to a file. */
@Command(
    name = "export",
    mixinStandardHelpOptions = true,
    description =
        "Write a model to a .safetensors file, a .pt file that torch.load(weights_only=True) takes, a"
            + " .gguf file, a folder as Hugging Face has it, or into the graph of an .onnx file.",
    footer = {
      "",
      "Tensors come back in the dtype they were loaded with; what is stored in that dtype comes back",
      "byte for byte. A .gguf file takes q8_0 and q4_0 as they are stored. A folder gets the files",
      "that the model was loaded with, such as config.json and tokenizer.json.",
      "",
      "Examples:",
      "  tensorhold export bert bert.safetensors",
      "  tensorhold export bert bert.pt",
      "  tensorhold export bert bert/ --shard-size 5GB",
      "  tensorhold export bert-q8 bert-q8.onnx --template model.onnx"
    })
final class ExportCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Parameters(index = "1", paramLabel = "FILE", description = "The file or folder to write.")
  private Path file = Path.of("");

  @Option(names = "--template", description = "The .onnx file whose graph is filled.")
  private @Nullable Path template;

  @Option(
      names = "--shard-size",
      paramLabel = "SIZE",
      description =
          "Write a folder of safetensors files of at most so many bytes, and their index: 5GB.")
  private @Nullable String shardSize;

  @Override
  public Integer call() throws Exception {
    boolean onnx = file.toString().endsWith(".onnx");
    if (onnx != (template != null)) {
      throw new CliFailure(
          onnx
              ? "an .onnx file needs --template ORIGINAL.onnx: the store keeps tensors, not graphs"
              : "--template goes with a file that ends in .onnx");
    }
    if (onnx && shardSize != null) {
      throw new CliFailure("--shard-size goes with a folder");
    }
    try (TensorholdClient client = globals.connect()) {
      ModelHandle model = client.model(name);
      TableText.refuse(model, "export");
      long most =
          shardSize == null ? 0 : Math.max(1, ByteSize.of("--shard-size", shardSize).bytes());
      double seconds;
      try (Progress progress = new Progress("export " + name, ModelExporter.bytes(model))) {
        if (template != null) {
          fill(template, new StoredTensors(client, model), progress);
        } else {
          new ModelExporter(client, model, progress::add).write(file, most);
        }
        seconds = progress.seconds();
      }
      long size = Files.isDirectory(file) ? ModelExporter.bytes(model) : Files.size(file);
      globals
          .output()
          .print(
              Map.of("name", name, "file", file.toString(), "bytes", size, "seconds", seconds),
              () ->
                  Output.line(
                      "%s: %d tensors, %s in %.1f s",
                      file, model.parameters().size(), Output.bytes(size), seconds));
    }
    return 0;
  }

  private void fill(Path graph, TensorSource stored, Progress progress) throws IOException {
    try (OnnxTemplate onnx = OnnxTemplate.open(graph)) {
      onnx.fill(
          (tensor, offset, target) -> {
            int count = target.remaining();
            stored.read(tensor, offset, target);
            progress.add(count);
          },
          file);
    }
  }
}
