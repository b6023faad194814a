package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.checkpoint.Checkpoint;
import io.tensorhold.client.checkpoint.SafetensorsWriter;
import io.tensorhold.client.checkpoint.TensorAlias;
import io.tensorhold.client.checkpoint.TensorEntry;
import io.tensorhold.client.checkpoint.TensorSpec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;

/** Checkpoints of every format through {@code load} and {@code export}. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class FormatsTest {
  private static final Path GOLDEN = Path.of("../java/src/test/resources/checkpoint");
  private static final String PYTHON = System.getenv().getOrDefault("TENSORHOLD_PYTHON", "python3");

  @TempDir private Path folder;
  private LocalServer server;

  @BeforeAll
  void start(@TempDir Path data) throws IOException {
    server = new LocalServer(data, "48MiB");
  }

  @AfterAll
  void stop() {
    server.close();
  }

  private RanCommand run(Object... args) {
    List<String> all = new ArrayList<>(Arrays.stream(args).map(Object::toString).toList());
    all.add("--servers=" + server.address());
    return RanCommand.of(all.toArray(String[]::new));
  }

  private String done(Object... args) {
    RanCommand ran = run(args);
    assertThat(ran.status()).as(ran.err()).isZero();
    return ran.out();
  }

  private String refused(Object... args) {
    RanCommand ran = run(args);
    assertThat(ran.status()).isOne();
    return ran.err();
  }

  private static List<TensorAlias> aliases(Path file) throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      return checkpoint.aliases();
    }
  }

  private static float[] floats(Path file, String name) throws IOException {
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      TensorEntry tensor =
          checkpoint.tensors().stream()
              .filter(t -> t.name().equals(name))
              .findFirst()
              .orElseThrow();
      assertThat(tensor.dtype()).isEqualTo(DType.F32);
      ByteBuffer bytes = ByteBuffer.allocate((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
      checkpoint.read(tensor, 0, bytes);
      float[] values = new float[bytes.capacity() / 4];
      bytes.flip().asFloatBuffer().get(values);
      return values;
    }
  }

  @Test
  void torchFileComesBackEqualAndTiedWhereItWasTied() throws Exception {
    Path golden = GOLDEN.resolve("golden.pt");
    assertThat(done("load", golden, "--name", "pt")).contains("32 tensors, 4 aliases");
    assertThat(done("describe", "pt"))
        .contains("alias tied of w\n")
        .contains("alias row of w from element 6 on, [6]");
    assertThat(done("ls", "pt", "--json")).contains("\"aliases\" : 4");
    assertThat(done("verify", golden, "--model", "pt")).contains("36 of 36 tensors");
    Path back = folder.resolve("back.pt");
    done("export", "pt", back);
    assertThat(done("verify", golden, back)).contains("36 of 36 tensors");
    assertThat(aliases(back)).containsExactlyInAnyOrderElementsOf(aliases(golden));
    python("torch", golden, back);
  }

  @Test
  void safetensorsKeepsOneOwnerAndNamesTheOthersInItsMetadata() throws Exception {
    Path golden = GOLDEN.resolve("golden.pt");
    done("load", golden, "--name", "owner");
    Path once = folder.resolve("once.safetensors");
    done("export", "owner", once);
    String header = new String(Files.readAllBytes(once), java.nio.charset.StandardCharsets.UTF_8);
    assertThat(header)
        .contains("\"tied\":\"w\"")
        .contains("\"tensorhold.alias:rows\":\"6 2x6 w\"")
        .doesNotContain("\"tied\":{");
    assertThat(done("verify", golden, once)).contains("36 of 36 tensors");
    done("load", once, "--name", "owner2");
    Path twice = folder.resolve("twice.safetensors");
    done("export", "owner2", twice);
    assertThat(Files.mismatch(once, twice)).isEqualTo(-1);
  }

  @Test
  void ggufComesBackByteForByte() throws Exception {
    Path golden = GOLDEN.resolve("golden.gguf");
    assertThat(done("load", golden, "--name", "gguf")).contains("12 tensors, 1 file");
    assertThat(done("describe", "gguf", "--tensors"))
        .containsPattern("q8 +F32 +\\[3, 64\\] +q8_0")
        .containsPattern("q4 +F32 +\\[2, 2, 32\\] +q4_0")
        .containsPattern("kept.Q6_K +GGML_Q6_K +\\[2, 512\\] +raw");
    assertThat(done("verify", golden, "--model", "gguf")).contains("12 of 12 tensors");
    Path back = folder.resolve("back.gguf");
    done("export", "gguf", back);
    assertThat(Files.mismatch(golden, back)).isEqualTo(-1);
    python("gguf", golden, back);
    assertThat(refused("export", "gguf", folder.resolve("no.safetensors")))
        .contains("which safetensors has not; export to .gguf");
  }

  @Test
  void blocksOfGgufAreDecodedWhenAnotherFormIsAskedFor() throws Exception {
    Path golden = GOLDEN.resolve("golden.gguf");
    done("load", golden, "--name", "f32", "--only", "q?", "--codec", "f32");
    Path decoded = folder.resolve("decoded.safetensors");
    done("export", "f32", decoded);
    done("load", golden, "--name", "q", "--only", "q?");
    Path pulled = folder.resolve("pulled.safetensors");
    done("export", "q", pulled);
    assertThat(floats(decoded, "q8")).isEqualTo(floats(pulled, "q8")).hasSize(192);
    assertThat(floats(decoded, "q4")).isEqualTo(floats(pulled, "q4"));
  }

  private Path huggingFace() throws IOException {
    Path from = Files.createDirectories(folder.resolve("hf"));
    List<TensorSpec> specs = new ArrayList<>();
    for (int i = 0; i < 6; i++) {
      specs.add(new TensorSpec("layer." + i + ".weight", DType.F32, Shape.of(100, 100)));
    }
    specs.add(new TensorSpec("wide", DType.F64, Shape.of(3)));
    try (SafetensorsWriter writer =
        SafetensorsWriter.create(
            from.resolve("model.safetensors"), specs, Map.of("format", "pt"))) {
      for (TensorSpec spec : specs) {
        ByteBuffer bytes = ByteBuffer.allocate((int) spec.bytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < spec.shape().elements(); i++) {
          if (spec.dtype() == DType.F64) {
            bytes.putDouble(8 * i, 0.1 * (i + 1));
          } else {
            bytes.putFloat(4 * i, i / 7f);
          }
        }
        writer.write(spec.name(), 0, bytes);
      }
      writer.finish();
    }
    Files.writeString(from.resolve("config.json"), "{\"model_type\": \"bert\"}\n");
    Files.writeString(from.resolve("tokenizer.json"), "x".repeat(3_000_000));
    Files.writeString(from.resolve("train.py"), "not an attachment");
    Files.writeString(from.resolve(".hidden.json"), "not an attachment");
    return from;
  }

  @Test
  void foldersOfHuggingFaceTravelWholeAndAreCutBySize() throws Exception {
    Path from = huggingFace();
    assertThat(done("load", from, "--name", "hf")).contains("7 tensors, 2 files");
    assertThat(done("describe", "hf"))
        .contains("file config.json, ")
        .contains("file tokenizer.json");
    Path to = folder.resolve("sharded");
    done("export", "hf", to, "--shard-size", "100KB");
    assertThat(to.toFile().list())
        .containsExactlyInAnyOrder(
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors");
    for (String name : List.of("config.json", "tokenizer.json")) {
      assertThat(Files.mismatch(from.resolve(name), to.resolve(name))).isEqualTo(-1);
    }
    assertThat(Files.readString(to.resolve("model.safetensors.index.json")))
        .contains("\"total_size\" : 240024");
    assertThat(done("verify", from, to)).contains("7 of 7 tensors");
    done("load", to, "--name", "hf2");
    Path whole = Files.createDirectories(folder.resolve("whole"));
    done("export", "hf2", whole);
    assertThat(whole.toFile().list())
        .containsExactlyInAnyOrder("config.json", "tokenizer.json", "model.safetensors");
    assertThat(done("verify", from, whole)).contains("7 of 7 tensors");
    python("safetensors", from.resolve("model.safetensors"), whole.resolve("model.safetensors"));
  }

  @Test
  void partsAreLoadedByPatternRenamedAndTurnedIntoAnotherDtype() throws Exception {
    Path from = huggingFace().resolve("model.safetensors");
    String[] rules = {
      "--only",
      "layer.?.w*",
      "--only",
      "wide",
      "--rename",
      "^layer\\.(\\d)=block.$1",
      "--rename",
      "weight$=w",
      "--dtype",
      "bf16"
    };
    List<Object> load = new ArrayList<>(List.of("load", from, "--name", "part"));
    load.addAll(List.of(rules));
    assertThat(done(load.toArray())).contains("7 tensors");
    assertThat(done("describe", "part", "--tensors"))
        .containsPattern("block.5.w +BF16 +\\[100, 100\\] +bf16")
        .containsPattern("wide +BF16");
    done("load", from, "--name", "narrow", "--only", "wide", "--dtype", "f32");
    Path narrow = folder.resolve("narrow.safetensors");
    done("export", "narrow", narrow);
    assertThat(floats(narrow, "wide")).containsExactly(0.1f, 0.2f, (float) (0.1 * 3));
  }

  @Test
  void ruleThatCannotBeMetIsRefusedAndNothingIsCreated() throws Exception {
    Path from = huggingFace().resolve("model.safetensors");
    assertThat(refused("load", from, "--name", "bad", "--only", "nothing.*"))
        .contains("no tensor matches --only \"nothing.*\"");
    assertThat(refused("load", from, "--name", "bad", "--rename", "\\d=x"))
        .contains("\"layer.0.weight\" and \"layer.1.weight\" are both renamed to");
    assertThat(refused("load", from, "--name", "bad", "--rename", "(=x")).contains("--rename (=x");
    assertThat(refused("load", from, "--name", "bad", "--rename", "x")).contains("REGEX=");
    assertThat(refused("load", from, "--name", "bad", "--rename", "a=$7"))
        .contains("--rename a=$7");
    assertThat(refused("load", from, "--name", "bad", "--dtype", "i8")).contains("f32, f16, bf16");
    assertThat(done("ls", "bad", "--all")).doesNotContain("bad");
  }

  @Test
  void aliasWhoseTensorIsLeftOutHasTheBytes() throws Exception {
    Path golden = GOLDEN.resolve("golden.pt");
    assertThat(done("load", golden, "--name", "heir", "--only", "tied", "--only", "row*"))
        .contains("1 tensors, 2 aliases");
    assertThat(done("describe", "heir")).contains("alias rows of tied from element 6 on");
    assertThat(done("load", golden, "--name", "slices", "--only", "row*"))
        .contains("2 tensors, 18 elements");
  }

  @Test
  void hostileFileLeavesNoModelBehind() throws Exception {
    Path file = folder.resolve("hostile.pt");
    byte[] bytes = Files.readAllBytes(GOLDEN.resolve("golden.pt"));
    for (int at = 64; at < 1000; at += 13) {
      bytes[at] ^= 0x55;
    }
    Files.write(file, bytes);
    assertThat(refused("load", file, "--name", "hostile")).startsWith("tensorhold: " + file);
    assertThat(done("ls", "hostile", "--all")).doesNotContain("hostile");
  }

  private void python(String kind, Path original, Path exported) throws Exception {
    Path script = Path.of("src/test/python/formats.py");
    Path log = folder.resolve("python.log");
    String[] packages =
        kind.equals("torch") ? new String[] {"torch"} : new String[] {"torch", kind};
    boolean there = python(log, "-c", "import " + String.join(", ", packages)) == 0;
    if (!there) {
      System.out.println(
          "The comparison by Python's "
              + kind
              + " is left out: "
              + PYTHON
              + " has it not; set TENSORHOLD_PYTHON to a python3 that has.");
      return;
    }
    assertThat(python(log, script.toString(), kind, original.toString(), exported.toString()))
        .as(Files.readString(log))
        .isZero();
    assertThat(Files.readString(log)).contains("are equal");
  }

  private static int python(Path log, String... args) throws Exception {
    List<String> command = Stream.concat(Stream.of(PYTHON), Arrays.stream(args)).toList();
    try {
      return new ProcessBuilder(command)
          .redirectErrorStream(true)
          .redirectOutput(log.toFile())
          .start()
          .waitFor();
    } catch (IOException e) {
      return -1; // there is no Python at all
    }
  }
}
