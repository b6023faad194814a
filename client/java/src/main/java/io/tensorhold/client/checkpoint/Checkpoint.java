package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * A checkpoint on disk, opened and validated: one file or a set of files whose tensors can be read
 * in any order, in pieces of any size, by any number of threads.
 *
 * <p>Example:
 *
 * <pre>{@code
 * try (Checkpoint checkpoint = Checkpoint.open(Path.of("model.safetensors"))) {
 *   for (TensorEntry tensor : checkpoint.tensors()) {
 *     ByteBuffer head = ByteBuffer.allocate((int) Math.min(64, tensor.bytes()));
 *     checkpoint.read(tensor, 0, head);
 *   }
 * }
 * }</pre>
 */
public interface Checkpoint extends AutoCloseable {
  /** Ends of file names that are looked for in a folder, the first first. */
  List<String> SUFFIXES =
      List.of(SafetensorsIndex.SUFFIX, ".safetensors", ".pt", ".pth", ".bin", ".gguf", ".onnx");

  /**
   * Opens {@code *.safetensors}, {@code *.safetensors.index.json}, {@code *.pt}, {@code *.pth},
   * {@code *.bin}, {@code *.gguf}, {@code *.onnx}, or a folder that holds one of them. Of a folder
   * that holds several kinds the first of this list is taken; two of the kind that would be taken
   * are refused, unless one is called {@code model} or {@code pytorch_model}. Configuration and
   * tokenizer files of a folder are its {@link #attachments}.
   *
   * @throws CheckpointException if the file is not a whole and valid checkpoint
   * @throws IOException if the disk fails
   */
  static Checkpoint open(Path path) throws IOException {
    if (Files.isDirectory(path)) {
      return FolderCheckpoint.open(path, choose(path));
    }
    String name = String.valueOf(path.getFileName());
    if (name.endsWith(SafetensorsIndex.SUFFIX)) {
      return SafetensorsCheckpoint.openIndex(path);
    }
    if (name.endsWith(".safetensors")) {
      return SafetensorsCheckpoint.open(path);
    }
    if (name.endsWith(".pt") || name.endsWith(".pth") || name.endsWith(".bin")) {
      return TorchCheckpoint.open(path);
    }
    if (name.endsWith(".gguf")) {
      return GgufCheckpoint.open(path);
    }
    if (name.endsWith(".onnx")) {
      return OnnxCheckpoint.open(path);
    }
    String problem =
        Files.exists(path)
            ? "unknown kind of checkpoint; known are *.safetensors, *.safetensors.index.json,"
                + " *.pt, *.pth, *.bin, *.gguf, *.onnx and a folder that holds one of them"
            : "no such file";
    throw new CheckpointException(path, problem);
  }

  private static Path choose(Path folder) throws IOException {
    for (String suffix : SUFFIXES) {
      List<Path> found = new ArrayList<>();
      try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*" + suffix)) {
        for (Path file : files) {
          if (Files.isRegularFile(file) && found.size() < 3) {
            found.add(file);
          }
        }
      }
      for (String usual : List.of("model", "pytorch_model")) {
        if (Files.isRegularFile(folder.resolve(usual + suffix))) {
          return folder.resolve(usual + suffix);
        }
      }
      if (found.size() == 1) {
        return found.getFirst();
      }
      if (found.size() > 1) {
        throw new CheckpointException(
            folder,
            "holds several files *"
                + suffix
                + " ("
                + found.get(0).getFileName()
                + ", "
                + found.get(1).getFileName()
                + " …) and no model"
                + suffix
                + "; name one of them");
      }
    }
    throw new CheckpointException(
        folder, "holds no checkpoint; looked for *" + String.join(", *", SUFFIXES));
  }

  /** The format's name: {@code safetensors}, {@code pt}, {@code gguf} or {@code onnx}. */
  String format();

  /** The tensors in the order of the file, or of files in the order of their names. */
  List<TensorEntry> tensors();

  /** Tensors that have no bytes of their own, in the order of {@link #tensors}. */
  default List<TensorAlias> aliases() {
    return List.of();
  }

  /** Files that belong to the checkpoint and travel along, read as the tensors are. */
  default List<TensorEntry> attachments() {
    return List.of();
  }

  /** The text that the file carries about itself, but for aliases; nothing of it is obeyed. */
  Map<String, String> metadata();

  /**
   * Fills {@code dst} up to its limit with a tensor's bytes from {@code byteOffset} on.
   *
   * @param tensor one of {@link #tensors()} or {@link #attachments()}
   * @throws IllegalArgumentException if the bytes asked for are not all the tensor's
   */
  void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException;

  @Override
  void close() throws IOException;
}
