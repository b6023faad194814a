package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.OnnxTemplate;
import io.tensorhold.client.checkpoint.TensorSource;
import io.tensorhold.numerics.Codec;
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
        "Write a model to a .safetensors file, a .pt file that torch.load(weights_only=True) takes,"
            + " or into the graph of an .onnx file.",
    footer = {
      "",
      "Tensors come back in the dtype they were loaded with; what is stored in that dtype comes back",
      "byte for byte.",
      "",
      "Examples:",
      "  tensorhold export bert bert.safetensors",
      "  tensorhold export bert bert.pt",
      "  tensorhold export bert-q8 bert-q8.onnx --template model.onnx"
    })
final class ExportCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Parameters(index = "1", paramLabel = "FILE", description = "The file to write.")
  private Path file = Path.of("");

  @Option(names = "--template", description = "The .onnx file whose graph is filled.")
  private @Nullable Path template;

  @Override
  public Integer call() throws Exception {
    boolean onnx = file.toString().endsWith(".onnx");
    if (onnx != (template != null)) {
      throw new CliFailure(
          onnx
              ? "an .onnx file needs --template ORIGINAL.onnx: the store keeps tensors, not graphs"
              : "--template goes with a file that ends in .onnx");
    }
    try (TensorholdClient client = globals.connect()) {
      ModelHandle model = client.model(name);
      TableText.refuse(model, "export");
      long bytes =
          model.parameters().stream().mapToLong(p -> p.bytes(Codec.nativeOf(p.dtype()))).sum();
      double seconds;
      try (Progress progress = new Progress("export " + name, bytes)) {
        TensorSource stored = new StoredTensors(client, model);
        TensorSource source =
            (tensor, offset, target) -> {
              int count = target.remaining();
              stored.read(tensor, offset, target);
              progress.add(count);
            };
        if (template != null) {
          try (OnnxTemplate graph = OnnxTemplate.open(template)) {
            graph.fill(source, file);
          }
        } else {
          new ModelExporter(model, source).write(file);
        }
        seconds = progress.seconds();
      }
      long size = Files.size(file);
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
}
