package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Pulls a tensor, or a slice of one. */
@Command(
    name = "pull",
    mixinStandardHelpOptions = true,
    description = "Show a tensor or a slice of it, or write its bytes to a file.",
    footer = {
      "",
      "Examples:",
      "  tensorhold pull bert embeddings.word_embeddings.weight --slice 0:2,:8",
      "  tensorhold pull bert pooler.dense.bias --out bias.f32",
      "  tensorhold pull bert pooler.dense.bias --max-staleness 500ms"
    })
final class PullCommand implements Callable<Integer> {
  private static final int SHOWN = 16;

  @Mixin private Globals globals = new Globals();

  @Parameters(index = "0", paramLabel = "NAME", description = "The model.")
  private String name = "";

  @Parameters(index = "1", paramLabel = "TENSOR", description = "The tensor.")
  private String tensor = "";

  @Option(names = "--slice", description = "Part of it, as in numpy: 0:10,:,3")
  private @Nullable String slice;

  @Option(names = "--out", description = "File for its bytes, row-major, in its own dtype.")
  private @Nullable Path out;

  @Option(
      names = "--max-staleness",
      paramLabel = "TIME",
      converter = TimeSpan.class,
      defaultValue = "0ms",
      description =
          "Let any replica answer that is at most so old: 500ms, 2s (default: only the leader, which has everything).")
  private Duration maxStaleness = Duration.ZERO;

  @Override
  public Integer call() throws Exception {
    try (TensorholdClient client = globals.connect();
        Arena arena = Arena.ofShared()) {
      ModelHandle model = client.model(name);
      if (model.tables().stream().anyMatch(table -> table.name().equals(tensor))) {
        throw new CliFailure(tensor + " is a table: see tensorhold pull-rows");
      }
      Parameter parameter = model.parameter(tensor);
      Slice part =
          slice == null ? Slice.all(parameter.shape()) : Slice.parse(slice, parameter.shape());
      boolean numbers = parameter.codec().computable() && out == null;
      Codec codec = numbers ? Codec.F32 : Codec.nativeOf(parameter.dtype());
      MemorySegment bytes =
          arena.allocate(Math.max(1, codec.bytes(parameter.dtype(), part.elements())));
      MemorySegment target = bytes.asSlice(0, codec.bytes(parameter.dtype(), part.elements()));
      client.reader(maxStaleness).pull(parameter, part, codec, target);
      if (out != null) {
        try (FileChannel file =
            FileChannel.open(
                out,
                StandardOpenOption.CREATE,
                StandardOpenOption.TRUNCATE_EXISTING,
                StandardOpenOption.WRITE)) {
          var rest = target.asByteBuffer();
          while (rest.hasRemaining()) {
            file.write(rest);
          }
        }
      }
      show(parameter, part, target, numbers);
    }
    return 0;
  }

  private void show(Parameter parameter, Slice part, MemorySegment values, boolean numbers) {
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("tensor", parameter.name());
    document.put("dtype", parameter.dtype().name());
    document.put("codec", parameter.codec().label());
    document.put("shape", part.shape().dims());
    document.put("bytes", values.byteSize());
    List<Float> first = new ArrayList<>();
    double sum = 0;
    float smallest = Float.POSITIVE_INFINITY;
    float largest = Float.NEGATIVE_INFINITY;
    ValueLayout.OfFloat f32 = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    for (long i = 0; numbers && i < part.elements(); i++) {
      float value = values.get(f32, 4 * i);
      sum += value;
      smallest = Math.min(smallest, value);
      largest = Math.max(largest, value);
      if (first.size() < SHOWN || globals.json) {
        first.add(value);
      }
    }
    if (numbers) {
      document.put("values", first);
    }
    double mean = sum / Math.max(1, part.elements());
    float low = smallest;
    float high = largest;
    globals
        .output()
        .print(
            document,
            () -> {
              Output.line(
                  "%s %s%s stored as %s, %s",
                  parameter.name(),
                  parameter.dtype(),
                  part.shape(),
                  parameter.codec().label(),
                  Output.bytes(values.byteSize()));
              if (numbers && part.elements() > 0) {
                Output.line("min %g  mean %g  max %g", low, mean, high);
                Output.line("%s%s", first, part.elements() > SHOWN ? " …" : "");
              }
              if (out != null) {
                Output.line("written to %s", out);
              }
            });
  }
}
