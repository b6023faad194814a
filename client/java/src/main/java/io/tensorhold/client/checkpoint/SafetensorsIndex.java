package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;

/**
 * A {@code *.safetensors.index.json}: which tensor lies in which file. Its {@code total_size} is
 * not held against the files: published checkpoints are known to state it for another dtype.
 *
 * @param files the names of the files, sorted
 * @param fileOf the file of each tensor
 */
record SafetensorsIndex(
    Iterable<String> files, Map<String, String> fileOf, Map<String, String> metadata) {
  static final String SUFFIX = ".safetensors.index.json";

  static SafetensorsIndex parse(OpenFile file) throws IOException {
    if (file.size() > SafetensorsHeader.MAX_HEADER_BYTES) {
      throw new CheckpointException(
          file.path(),
          "the index has "
              + file.size()
              + " bytes, the limit is "
              + SafetensorsHeader.MAX_HEADER_BYTES);
    }
    Reader reader = new Reader(file);
    StrictJson.readObject(file, 0, file.size(), "the index", reader::member);
    if (!reader.mapped) {
      throw new CheckpointException(file.path(), "the index has no weight_map");
    }
    return new SafetensorsIndex(
        reader.files.keySet(), Map.copyOf(reader.fileOf), Map.copyOf(reader.metadata));
  }

  private static final class Reader {
    private final OpenFile file;
    private final Map<String, String> fileOf = new HashMap<>();
    private final Map<String, String> metadata = new HashMap<>();

    /** Each file name once, so that many tensors share a few strings. */
    private final TreeMap<String, String> files = new TreeMap<>();

    private boolean mapped;

    Reader(OpenFile file) {
      this.file = file;
    }

    void member(String name, JsonParser json) throws IOException {
      switch (name) {
        case "weight_map" -> readWeightMap(json);
        case "metadata" -> readMetadata(json);
        default -> json.skipChildren();
      }
    }

    private void readWeightMap(JsonParser json) throws IOException {
      mapped = true;
      if (json.currentToken() != JsonToken.START_OBJECT) {
        throw new CheckpointException(file.path(), "weight_map is not an object");
      }
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String tensor = json.currentName();
        if (json.nextToken() != JsonToken.VALUE_STRING) {
          throw new CheckpointException(
              file.path(), "weight_map " + quote(tensor) + " does not name a file");
        }
        if (fileOf.size() == SafetensorsHeader.MAX_TENSORS) {
          throw new CheckpointException(
              file.path(), "more than " + SafetensorsHeader.MAX_TENSORS + " tensors");
        }
        String target = json.getText();
        fileOf.put(tensor, files.computeIfAbsent(target, t -> t));
      }
    }

    private void readMetadata(JsonParser json) throws IOException {
      if (json.currentToken() != JsonToken.START_OBJECT) {
        throw new CheckpointException(file.path(), "metadata is not an object");
      }
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String key = json.currentName();
        JsonToken value = json.nextToken();
        if (value.isStructStart()) {
          json.skipChildren();
        } else {
          metadata.put(key, json.getText());
        }
        if (metadata.size() > SafetensorsHeader.MAX_METADATA) {
          throw new CheckpointException(
              file.path(), "metadata has more than " + SafetensorsHeader.MAX_METADATA + " entries");
        }
      }
    }
  }
}
