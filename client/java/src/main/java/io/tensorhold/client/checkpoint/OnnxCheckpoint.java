package io.tensorhold.client.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** The initializers of an ONNX model's graph as a checkpoint, in the order of the graph. */
final class OnnxCheckpoint implements Checkpoint {
  private final OpenFile file;
  private final ReferencedFiles beside;
  private final OnnxGraph graph;
  private final TensorTable tensors;

  private OnnxCheckpoint(
      OpenFile file, ReferencedFiles beside, OnnxGraph graph, TensorTable tensors) {
    this.file = file;
    this.beside = beside;
    this.graph = graph;
    this.tensors = tensors;
  }

  static OnnxCheckpoint open(Path path) throws IOException {
    OpenFile file = OpenFile.open(path);
    try {
      ReferencedFiles beside = new ReferencedFiles(path);
      try {
        OnnxGraph graph = OnnxGraph.parse(file, beside);
        TensorTable tensors = new TensorTable(path);
        for (OnnxInitializer initializer : graph.initializers()) {
          tensors.add(initializer.entry(), initializer.data());
        }
        return new OnnxCheckpoint(file, beside, graph, tensors);
      } catch (Throwable e) {
        beside.close();
        throw e;
      }
    } catch (Throwable e) {
      file.close();
      throw e;
    }
  }

  OpenFile file() {
    return file;
  }

  OnnxGraph graph() {
    return graph;
  }

  @Override
  public String format() {
    return "onnx";
  }

  @Override
  public List<TensorEntry> tensors() {
    return tensors.entries();
  }

  @Override
  public Map<String, String> metadata() {
    return graph.metadata();
  }

  @Override
  public void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException {
    tensors.read(tensor, byteOffset, dst);
  }

  @Override
  public void close() throws IOException {
    OpenFiles.closeAll(List.of(file, beside));
  }
}
