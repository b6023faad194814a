package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What a walk through an ONNX file found: the graph and its initializers. The walk goes three
 * messages deep (model, graph, tensor) and steps over all else, so nodes and their subgraphs are
 * never entered and however deep they nest they cost nothing. Constant nodes and the initializers
 * of subgraphs are part of the program and not of its weights.
 *
 * @param graph the graph as a field of the model
 */
record OnnxGraph(
    ProtoReader.Field graph, List<OnnxInitializer> initializers, Map<String, String> metadata) {
  private static final int MODEL_GRAPH = 7;
  private static final int MODEL_PRODUCER = 2;
  private static final int MODEL_METADATA = 14;
  private static final int GRAPH_INITIALIZER = 5;
  private static final int GRAPH_SPARSE_INITIALIZER = 15;
  private static final int WINDOW_BYTES = 1 << 16;

  /** Counted over the model, as the pieces of all tensors are held in memory. */
  private static final int MAX_PIECES = 1_000_000;

  /** As much as a safetensors header may have. */
  private static final long MAX_NAME_CHARS = SafetensorsHeader.MAX_HEADER_BYTES;

  /** At 1 MiB a string, what a hostile file can make us hold is still small. */
  private static final int MAX_ENTRIES = 64;

  static OnnxGraph parse(OpenFile file, ReferencedFiles beside) throws IOException {
    ProtoReader reader = new ProtoReader(file, WINDOW_BYTES);
    ProtoReader.Field graph = null;
    Map<String, String> metadata = new HashMap<>();
    for (long at = 0; at < file.size(); ) {
      ProtoReader.Field f = reader.field(at, file.size(), "model");
      if (f.number() == MODEL_GRAPH) {
        reader.require(f, ProtoReader.LENGTH_DELIMITED, "graph");
        if (graph != null) {
          throw reader.bad("model", at, "a second graph");
        }
        graph = f;
      } else if (f.number() == MODEL_METADATA) {
        reader.require(f, ProtoReader.LENGTH_DELIMITED, "metadata_props");
        readEntry(reader, f, "metadata_props", metadata);
      } else if (f.number() == MODEL_PRODUCER) {
        reader.require(f, ProtoReader.LENGTH_DELIMITED, "producer_name");
        metadata.put("producer_name", reader.string(f, "producer_name"));
      }
      at = f.end();
    }
    if (graph == null) {
      throw new CheckpointException(
          file.path(), "no graph in " + file.size() + " bytes; is this an ONNX model?");
    }
    return new OnnxGraph(
        graph, readInitializers(file, reader, beside, graph), Map.copyOf(metadata));
  }

  private static List<OnnxInitializer> readInitializers(
      OpenFile file, ProtoReader reader, ReferencedFiles beside, ProtoReader.Field graph)
      throws IOException {
    List<OnnxInitializer> found = new ArrayList<>();
    Set<String> names = new HashSet<>();
    long pieces = 0;
    long nameChars = 0;
    for (long at = graph.valueStart(); at < graph.end(); ) {
      ProtoReader.Field f = reader.field(at, graph.end(), "graph");
      if (f.number() == GRAPH_SPARSE_INITIALIZER) {
        throw reader.bad("graph", at, "sparse initializers are not supported");
      }
      if (f.number() == GRAPH_INITIALIZER) {
        reader.require(f, ProtoReader.LENGTH_DELIMITED, "initializer");
        OnnxInitializer initializer = OnnxTensorParser.parse(file, reader, beside, f);
        pieces += initializer.payload().size();
        nameChars += initializer.entry().name().length();
        checkLimit(reader, at, "initializers", found.size() + 1, SafetensorsHeader.MAX_TENSORS);
        checkLimit(reader, at, "pieces of initializers", pieces, MAX_PIECES);
        checkLimit(reader, at, "characters in names", nameChars, MAX_NAME_CHARS);
        if (!names.add(initializer.entry().name())) {
          throw reader.bad(
              "graph",
              at,
              "the initializer " + quote(initializer.entry().name()) + " is there twice");
        }
        found.add(initializer);
      }
      at = f.end();
    }
    return Collections.unmodifiableList(found);
  }

  private static void checkLimit(ProtoReader reader, long at, String what, long value, long limit)
      throws CheckpointException {
    if (value > limit) {
      throw reader.bad("graph", at, "more than " + limit + " " + what);
    }
  }

  /** Reads a {@code StringStringEntryProto} into a map; a key twice is refused. */
  static void readEntry(
      ProtoReader reader, ProtoReader.Field entry, String what, Map<String, String> into)
      throws IOException {
    String key = "";
    String value = "";
    for (long at = entry.valueStart(); at < entry.end(); ) {
      ProtoReader.Field f = reader.field(at, entry.end(), what);
      if (f.number() == 1 || f.number() == 2) {
        reader.require(f, ProtoReader.LENGTH_DELIMITED, what);
        String text = reader.string(f, what);
        key = f.number() == 1 ? text : key;
        value = f.number() == 2 ? text : value;
      }
      at = f.end();
    }
    if (into.putIfAbsent(key, value) != null) {
      throw reader.bad(what, entry.start(), "the key " + quote(key) + " is there twice");
    }
    if (into.size() > MAX_ENTRIES) {
      throw reader.bad(what, entry.start(), "more than " + MAX_ENTRIES + " entries");
    }
  }
}
