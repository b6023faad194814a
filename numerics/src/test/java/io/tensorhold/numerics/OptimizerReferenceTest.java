package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Two hundred steps of every optimizer are those of PyTorch, or of the paper's formulas. */
class OptimizerReferenceTest {
  /** Names another Python than {@code python3} for the live comparison. */
  private static final String PYTHON = System.getenv().getOrDefault("TENSORHOLD_PYTHON", "python3");

  private static final int LIVE_SEED = 2026;
  private static final List<String> PAPERS = List.of("ftrl", "lion", "lamb", "adagrad_row");

  @TempDir private Path folder;

  static Stream<String> cases() {
    return OptimizerReference.GOLDEN_CASES.stream();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void stepsAreThoseOfTheGoldenFile(String line) throws IOException {
    OptimizerReference.compare(line, 1, part(golden(), line));
  }

  @Test
  void oneStepIsWithinOneUnitInTheLastPlace() throws IOException {
    assertThat(nearAfterOneStep(golden(), 1)).isGreaterThanOrEqualTo(0.999);
  }

  private static MemorySegment golden() throws IOException {
    try (InputStream in = OptimizerReferenceTest.class.getResourceAsStream("optimizers.bin")) {
      return MemorySegment.ofArray(java.util.Objects.requireNonNull(in).readAllBytes());
    }
  }

  /** Of the cases that PyTorch computed; its square roots are not rounded correctly, ours are. */
  private static double nearAfterOneStep(MemorySegment all, int seed) {
    double sum = 0;
    int count = 0;
    for (String line : OptimizerReference.GOLDEN_CASES) {
      double share = OptimizerReference.compare(line, seed, part(all, line));
      if (!PAPERS.contains(line.split(" ", -1)[0])) {
        sum += share;
        count++;
      }
    }
    return sum / count;
  }

  private static MemorySegment part(MemorySegment all, String line) {
    long at = 0;
    for (String before : OptimizerReference.GOLDEN_CASES) {
      if (before.equals(line)) {
        break;
      }
      at += OptimizerReference.bytes(before);
    }
    return all.asSlice(at, OptimizerReference.bytes(line));
  }

  @Test
  void stepsAreThoseOfPyTorchRightNow() throws Exception {
    Path script = Path.of("src/test/python/optimizers.py");
    assumeTrue(Files.exists(script), "left out: " + script + " is not here");
    Path error = folder.resolve("error");
    int found = run(List.of(PYTHON, "-c", "import numpy, torch"), error);
    assumeTrue(found == 0, "left out: " + PYTHON + " has no NumPy and PyTorch: " + tail(error));
    Path out = folder.resolve("out");
    List<String> command = List.of(PYTHON, script.toString(), "live", "" + LIVE_SEED);
    int result = run(command, error, folder.resolve("cases"), out);
    assumeTrue(result == 0, "left out: " + tail(error));
    MemorySegment all = MemorySegment.ofArray(Files.readAllBytes(out));
    assertThat(nearAfterOneStep(all, LIVE_SEED)).isGreaterThanOrEqualTo(0.999);
  }

  private int run(List<String> command, Path error) throws Exception {
    return run(command, error, folder.resolve("none"), folder.resolve("ignored"));
  }

  private static int run(List<String> command, Path error, Path in, Path out) throws Exception {
    Files.writeString(in, String.join("\n", OptimizerReference.GOLDEN_CASES));
    ProcessBuilder builder =
        new ProcessBuilder(new ArrayList<>(command))
            .redirectInput(in.toFile())
            .redirectOutput(out.toFile())
            .redirectError(error.toFile());
    try {
      Process process = builder.start();
      if (!process.waitFor(120, TimeUnit.SECONDS)) {
        process.destroyForcibly();
        return -1;
      }
      return process.exitValue();
    } catch (IOException e) {
      Files.writeString(error, String.valueOf(e.getMessage()));
      return -1;
    }
  }

  private static String tail(Path error) throws IOException {
    List<String> lines = Files.readAllLines(error, StandardCharsets.UTF_8);
    return lines.isEmpty() ? "no message" : lines.getLast();
  }
}
