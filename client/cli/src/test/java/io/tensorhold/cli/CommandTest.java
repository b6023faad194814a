package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.JoinOptions;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.Worker;
import io.tensorhold.client.checkpoint.SafetensorsWriter;
import io.tensorhold.client.checkpoint.TensorSpec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The command against a real server. */
class CommandTest {
  @TempDir private Path folder;
  private LocalServer server;
  private String out = "";
  private String err = "";

  @BeforeEach
  void start() throws IOException {
    server = new LocalServer(folder.resolve("data"), "48MiB");
  }

  @AfterEach
  void stop() {
    server.close();
  }

  private int run(String... args) {
    List<String> all = new ArrayList<>(Arrays.asList(args));
    all.add("--servers=" + server.address());
    return bare(all.toArray(String[]::new));
  }

  private int bare(String... args) {
    RanCommand ran = RanCommand.of(args);
    out = ran.out();
    err = ran.err();
    return ran.status();
  }

  private Path checkpoint(long seed) throws IOException {
    Path file = folder.resolve("model-" + seed + ".safetensors");
    List<TensorSpec> specs = new ArrayList<>();
    for (DType dtype : DType.values()) {
      if (dtype.bits() > 0) { // the others are blocks of ggml, which safetensors has not
        specs.add(new TensorSpec("t." + dtype, dtype, Shape.of(3, 16)));
      }
    }
    specs.add(new TensorSpec("large", DType.F32, Shape.of(700, 1000)));
    specs.add(new TensorSpec("empty", DType.F32, Shape.of(0, 5)));
    specs.add(new TensorSpec("scalar", DType.BF16, Shape.of()));
    Random random = new Random(seed);
    try (SafetensorsWriter writer =
        SafetensorsWriter.create(file, specs, Map.of("made by", "test"))) {
      for (TensorSpec spec : specs) {
        byte[] bytes = new byte[(int) spec.dtype().bytes(spec.shape().elements())];
        if (spec.dtype().computable()) {
          for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) (random.nextInt() & 0x3f);
          }
        } else {
          random.nextBytes(bytes);
        }
        writer.write(spec.name(), 0, ByteBuffer.wrap(bytes));
      }
      writer.finish();
    }
    return file;
  }

  @Test
  void whatAModelIsTrainedWithIsShownAndChecked() throws IOException {
    String file = checkpoint(1).toString();
    assertThat(run("load", file, "--name", "m", "--optimizer", "adam", "--hyper", "lr=-1")).isOne();
    assertThat(err).contains("lr of adam is out of range: value=-1.0 allowed=0 to 1e9");
    assertThat(
            run(
                "load",
                file,
                "--name",
                "m",
                "--optimizer",
                "adam",
                "--schedule",
                "cosine",
                "--schedule-hyper",
                "period=100",
                "--schedule-hyper",
                "warmup=10",
                "--clip-value",
                "0.5",
                "--state-codec",
                "float8"))
        .as(err)
        .isZero();
    assertThat(run("describe", "m")).as(err).isZero();
    assertThat(out)
        .contains("adam {")
        .contains("schedule cosine {")
        .contains("period=100.0")
        .contains("gradients clipped to 0.5")
        .contains("state in float8");
    assertThat(run("describe", "m", "--json")).as(err).isZero();
    assertThat(out).contains("\"state_codec\"").contains("float8");
  }

  @Test
  void loadThenExportGivesEveryByteBackThoughMemoryIsSmallerThanTheModels() throws IOException {
    for (int i = 0; i < 12; i++) {
      assertThat(run("load", checkpoint(i).toString(), "--name", "m" + i)).as(err).isZero();
    }
    for (int i = 0; i < 12; i++) {
      Path back = folder.resolve("back.safetensors");
      assertThat(run("export", "m" + i, back.toString())).as(err).isZero();
      assertThat(Files.mismatch(back, folder.resolve("model-" + i + ".safetensors"))).isEqualTo(-1);
    }
    assertThat(run("verify", folder.resolve("model-3.safetensors").toString(), "--model", "m3"))
        .isZero();
    assertThat(out).contains("23 of 23 tensors are byte-identical");
    assertThat(run("verify", folder.resolve("model-3.safetensors").toString(), "--model", "m4"))
        .isOne();
    assertThat(run("status", "--json")).as(err).isZero();
    assertThat(out).contains("\"healthy\" : true");
  }

  @Test
  void miniLmSurvivesAsOnnxByteForByte() throws IOException {
    Path onnx = folder.resolve("minilm.onnx");
    try (InputStream in = Main.class.getResourceAsStream("/all-minilm-l6-v2.onnx")) {
      Files.copy(java.util.Objects.requireNonNull(in), onnx);
    }
    assertThat(run("load", onnx.toString(), "--name", "minilm")).as(err).isZero();
    Path back = folder.resolve("back.onnx");
    assertThat(run("export", "minilm", back.toString(), "--template", onnx.toString()))
        .as(err)
        .isZero();
    assertThat(Files.mismatch(onnx, back)).isEqualTo(-1);
    assertThat(run("load", onnx.toString(), "--name", "q8", "--codec", "q8_0")).as(err).isZero();
    assertThat(run("describe", "q8", "--json")).isZero();
    assertThat(out).contains("\"codec\" : \"q8_0\"").contains("\"rocksdb_bytes\"");
  }

  @Test
  void loadThatWasCutOffIsHiddenAndRunsAgain() throws IOException {
    Path file = checkpoint(1);
    try (var client = server.connect();
        var checkpoint = io.tensorhold.client.checkpoint.Checkpoint.open(file)) {
      client.createLoading(ModelLoader.spec("m", checkpoint, null).build(), true);
    }
    assertThat(run("describe", "m")).isOne();
    assertThat(err).contains("still being loaded");
    assertThat(run("ls")).isZero();
    assertThat(out).doesNotContain("LOADING");
    assertThat(run("load", checkpoint(2).toString(), "--name", "m")).as(err).isZero();
    assertThat(run("verify", folder.resolve("model-2.safetensors").toString(), "--model", "m"))
        .isZero();
    assertThat(run("load", file.toString(), "--name", "m")).isOne();
    assertThat(err).contains("MODEL_EXISTS");
  }

  @Test
  void errorsAreOneLineForPeople() throws IOException {
    Path broken = folder.resolve("broken.safetensors");
    Files.write(broken, new byte[] {1, 2, 3});
    assertThat(run("load", broken.toString(), "--name", "m")).isOne();
    assertOneLine();
    assertThat(run("load", folder.resolve("none.safetensors").toString(), "--name", "m")).isOne();
    assertOneLine();
    assertThat(run("pull", "nope", "x")).isOne();
    assertOneLine();
    assertThat(run("load", checkpoint(1).toString(), "--name", "m", "--codec", "q3")).isOne();
    assertOneLine();
    assertThat(bare("ls", "--servers=127.0.0.1:1", "--timeout=1")).isOne();
    assertOneLine();
    assertThat(run("ls", "--nonsense")).isEqualTo(2);
    assertThat(run("ls", "--all")).isZero();
    assertThat(out).doesNotContain("READY");
  }

  private void assertOneLine() {
    assertThat(err.lines().filter(line -> !line.contains("Kernels")))
        .singleElement()
        .asString()
        .startsWith("tensorhold: ");
    assertThat(err).doesNotContain("\tat ").doesNotContain("unforeseen");
  }

  @Test
  void statusAndDescribeShowWorkersAndWhomAStepWaitsFor() throws IOException {
    assertThat(
            run(
                "load",
                checkpoint(6).toString(),
                "--name=m",
                "--consistency=BSP",
                "--workers=2",
                "--optimizer=sgd",
                "--straggler-timeout=100"))
        .as(err)
        .isZero();
    try (TensorholdClient client = server.connect();
        Worker worker =
            client.joinModel("m", new JoinOptions(0, 2).withLabel("trainer on host-a"))) {
      MemorySegment gradient = MemorySegment.ofArray(new float[700_000]);
      var waiting = worker.step(1, Map.of(worker.model().parameter("large"), gradient));
      Replicas.until(
          "the step to wait", () -> !client.training(null).waits(worker.model().id()).isEmpty());
      assertThat(run("describe", "m")).as(err).isZero();
      assertThat(out).contains("trainer on host-a").contains("rank 1 (no live session)");
      assertThat(run("status", "--json")).as(err).isZero();
      assertThat(out).contains("\"label\" : \"trainer on host-a\"").contains("step 1 waits");
      assertThat(waiting).isNotDone();
    }
  }

  @Test
  void pullShowsASlice() throws IOException {
    assertThat(run("load", checkpoint(5).toString(), "--name", "m")).as(err).isZero();
    Path bytes = folder.resolve("slice.bin");
    assertThat(run("pull", "m", "large", "--slice", "262:264,:10", "--out", bytes.toString()))
        .as(err)
        .isZero();
    assertThat(Files.size(bytes)).isEqualTo(80);
    assertThat(run("pull", "m", "large", "--slice", "0:701,:")).isOne();
    assertOneLine();
    assertThat(run("rm", "m")).isZero();
    assertThat(run("describe", "m")).isOne();
  }
}
