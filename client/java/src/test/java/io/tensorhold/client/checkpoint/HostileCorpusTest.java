package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.Fixtures.refusal;
import static io.tensorhold.client.checkpoint.Fixtures.write;
import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.checkpoint.TorchFile.Pickle;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** Every file of the corpus is refused with the message of its rule, within little memory. */
class HostileCorpusTest {
  @TempDir Path folder;

  private Stream<DynamicTest> refused(Map<String, Hostile> corpus, String ending) {
    return corpus.entrySet().stream()
        .map(
            entry ->
                DynamicTest.dynamicTest(
                    entry.getKey(),
                    () -> {
                      Hostile hostile = entry.getValue();
                      Path file = write(folder, entry.getKey() + ending, hostile.file());
                      refusal(file).contains(hostile.message()).hasSizeLessThan(1000);
                    }));
  }

  @TestFactory
  Stream<DynamicTest> torchFilesAreRefusedWithTheirRule() {
    return refused(TorchCorpus.all(), ".pt");
  }

  @TestFactory
  Stream<DynamicTest> ggufFilesAreRefusedWithTheirRule() {
    return refused(GgufCorpus.all(), ".gguf");
  }

  /** What the corpus bends is good as it is: a file that is refused is refused for its fault. */
  @Test
  void filesWithoutTheFaultAreTaken() throws IOException {
    Pickle pickle = Pickle.dict().tensor(4, 0, new int[] {4}, new int[] {1}).end();
    Path torch = write(folder, "good.pt", TorchFile.of(pickle, 16).bytes());
    assertThat(Fixtures.readAll(torch)).containsOnlyKeys("w");
    byte[] gguf =
        GgufCorpus.Gguf.head(2, 1)
            .key("a", 4)
            .u32(7)
            .info("a", 0, 0, 4)
            .info("b", 8, 32, 32)
            .data(32 + 34)
            .bytes();
    assertThat(Fixtures.readAll(write(folder, "good.gguf", gguf))).containsOnlyKeys("a", "b");
  }

  /** 72 MiB of heap for a JVM that takes 8 when idle: none of the files has it take 64 more. */
  @Test
  void theWholeCorpusIsRefusedWithin64MiB() throws Exception {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-Xmx72m", "-XX:+UseSerialGC", "--add-modules=jdk.incubator.vector"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.add(OpenAll.class.getName());
    for (var corpus :
        List.of(Map.entry(".pt", TorchCorpus.all()), Map.entry(".gguf", GgufCorpus.all()))) {
      for (Map.Entry<String, Hostile> entry : corpus.getValue().entrySet()) {
        write(folder, entry.getKey() + corpus.getKey(), entry.getValue().file());
      }
    }
    command.add(folder.toString());
    Path log = folder.resolve("log");
    Process process =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    assertThat(process.waitFor(2, TimeUnit.MINUTES)).isTrue();
    assertThat(process.exitValue()).as(Files.readString(log)).isZero();
    int files = TorchCorpus.all().size() + GgufCorpus.all().size();
    assertThat(Files.readString(log)).contains(files + " refused");
  }

  /** Opens every file of a folder, as a process of its own. */
  static final class OpenAll {
    private OpenAll() {}

    public static void main(String[] args) throws IOException {
      int refused = 0;
      try (var files = Files.newDirectoryStream(Path.of(args[0]), "*.{pt,gguf}")) {
        for (Path file : files) {
          try (Checkpoint checkpoint = Checkpoint.open(file)) {
            System.out.println(file + " was taken: " + checkpoint.tensors().size());
          } catch (CheckpointException e) {
            refused++;
          }
        }
      }
      System.out.println(refused + " refused");
    }
  }
}
