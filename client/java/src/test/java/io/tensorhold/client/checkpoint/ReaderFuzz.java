package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What a fuzzer calls with the bytes of a file: each reader opens it and reads every tensor. A file
 * may be refused with a {@link CheckpointException}; anything else that is thrown is a find.
 *
 * <p>The signature is Jazzer's, so that both it and {@link ReaderFuzzTest} can drive these.
 */
public final class ReaderFuzz {
  /** Where the file is written; memory, if there is such a folder. */
  private static final Path FOLDER = folder();

  private static final int READ_BYTES = 64 << 10;

  private ReaderFuzz() {}

  /** Writes the inputs that Jazzer begins with: a folder for each reader. */
  public static final class Seeds {
    private Seeds() {}

    public static void main(String[] args) throws IOException {
      Path to = Path.of(args[0]);
      write(to.resolve("Safetensors/golden"), Fixtures.golden("golden.safetensors"));
      write(to.resolve("Onnx/golden"), Fixtures.golden("typed.onnx"));
      write(to.resolve("Gguf/golden"), Fixtures.golden("golden.gguf"));
      write(to.resolve("Torch/golden"), Fixtures.golden("golden.pt"));
      write(to.resolve("Torch/pickle"), ReaderFuzzTest.pickle(Fixtures.golden("golden.pt")));
      for (var hostile : TorchCorpus.all().entrySet()) {
        write(to.resolve("Torch/" + hostile.getKey()), hostile.getValue().file());
      }
      for (var hostile : GgufCorpus.all().entrySet()) {
        write(to.resolve("Gguf/" + hostile.getKey()), hostile.getValue().file());
      }
    }

    private static void write(Path file, byte[] content) throws IOException {
      if (content.length <= 1 << 16) {
        Files.createDirectories(file.toAbsolutePath().getParent());
        Files.write(file, content);
      }
    }
  }

  private static Path folder() {
    Path memory = Path.of("/dev/shm");
    try {
      return Files.isWritable(memory)
          ? Files.createTempDirectory(memory, "fuzz")
          : Files.createTempDirectory("fuzz");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A .safetensors file. */
  public static final class Safetensors {
    private Safetensors() {}

    public static void fuzzerTestOneInput(byte[] file) throws IOException {
      openAndReadAll("fuzz.safetensors", file);
    }
  }

  /** An .onnx file. */
  public static final class Onnx {
    private Onnx() {}

    public static void fuzzerTestOneInput(byte[] file) throws IOException {
      openAndReadAll("fuzz.onnx", file);
    }
  }

  /** A .gguf file. */
  public static final class Gguf {
    private Gguf() {}

    public static void fuzzerTestOneInput(byte[] file) throws IOException {
      openAndReadAll("fuzz.gguf", file);
    }
  }

  /** A .pt file, or the pickle of one: that is put into an archive which is right. */
  public static final class Torch {
    private Torch() {}

    public static void fuzzerTestOneInput(byte[] file) throws IOException {
      boolean archive = file.length > 0 && file[0] == 'P';
      openAndReadAll("fuzz.pt", archive ? file : around(file));
    }

    private static byte[] around(byte[] pickle) {
      TorchFile file = new TorchFile().add("a/data.pkl", pickle);
      for (int i = 0; i < 4; i++) {
        file.add("a/data/" + i, new byte[96 >> i]);
      }
      return file.bytes();
    }
  }

  private static void openAndReadAll(String name, byte[] content) throws IOException {
    Path path = FOLDER.resolve(name);
    Files.write(path, content);
    try (Checkpoint checkpoint = Checkpoint.open(path)) {
      ByteBuffer buffer = ByteBuffer.allocate(READ_BYTES);
      long read = 0;
      for (TensorEntry tensor : checkpoint.tensors()) {
        for (long at = 0; at < tensor.bytes(); at += READ_BYTES) {
          buffer.clear().limit((int) Math.min(READ_BYTES, tensor.bytes() - at));
          checkpoint.read(tensor, at, buffer);
          if (buffer.hasRemaining()) {
            throw new IllegalStateException("a read left bytes unfilled: " + tensor);
          }
          read += buffer.limit();
        }
      }
      if (read > 1000L * (content.length + 1000)) {
        throw new IllegalStateException(read + " bytes of tensors from " + content.length);
      }
    } catch (CheckpointException e) {
      if (e.getMessage().length() > 2000) {
        throw new IllegalStateException("a message for nobody: " + e.getMessage().length(), e);
      }
    }
  }
}
