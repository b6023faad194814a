package io.tensorhold.client.checkpoint;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.util.JsonParserDelegate;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/**
 * JSON from a stranger, token by token: valid UTF-8, no key twice in an object, little nesting, and
 * nothing after the one top-level object.
 */
final class StrictJson {
  /** The deepest legal nesting is header, tensor, shape; one more lets unknown keys be skipped. */
  private static final int MAX_DEPTH = 8;

  private static final int MAX_NAME_CHARS = 50_000;
  private static final int MAX_STRING_CHARS = 32 << 20;

  /** A tensor has its name and three keys more; finding a key twice costs memory for each. */
  private static final int MAX_KEYS =
      4 * SafetensorsHeader.MAX_TENSORS + 2 * SafetensorsHeader.MAX_METADATA;

  private static final JsonFactory FACTORY =
      JsonFactory.builder()
          // Names are chosen by the file: a shared symbol table would keep them, and their
          // collisions.
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
          .streamReadConstraints(
              StreamReadConstraints.builder()
                  .maxNestingDepth(MAX_DEPTH)
                  .maxNameLength(MAX_NAME_CHARS)
                  .maxStringLength(MAX_STRING_CHARS)
                  .build())
          .build();

  private StrictJson() {}

  /** What reads the members of the top-level object; it is called with the parser at each value. */
  interface Members {
    void member(String name, JsonParser value) throws IOException;
  }

  /** Reads one object from a range of a file; {@code what} names it in errors ("header"). */
  static void readObject(OpenFile file, long start, long length, String what, Members members)
      throws IOException {
    var decoder =
        StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT);
    try (var reader = new InputStreamReader(file.stream(start, length), decoder);
        JsonParser json = new Counted(FACTORY.createParser(reader), file, what)) {
      if (json.nextToken() != JsonToken.START_OBJECT) {
        throw new CheckpointException(file.path(), what + " is not a JSON object");
      }
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String name = json.currentName();
        json.nextToken();
        members.member(name, json);
      }
      if (json.nextToken() != null) {
        throw new CheckpointException(file.path(), what + " has text after its JSON object");
      }
    } catch (JsonProcessingException e) {
      long at = e.getLocation() == null ? 0 : e.getLocation().getCharOffset();
      String why = CheckpointException.quote(String.valueOf(e.getOriginalMessage()));
      throw new CheckpointException(
          file.path(), what + " is not valid JSON at character " + at + ": " + why, e);
    } catch (CharacterCodingException e) {
      throw new CheckpointException(file.path(), what + " is not valid UTF-8", e);
    }
  }

  /** A parser that refuses to read more keys than a checkpoint can have, skipped ones included. */
  private static final class Counted extends JsonParserDelegate {
    private final OpenFile file;
    private final String what;
    private int keys;

    Counted(JsonParser json, OpenFile file, String what) {
      super(json);
      this.file = file;
      this.what = what;
    }

    @Override
    public @Nullable JsonToken nextToken() throws IOException {
      JsonToken token = super.nextToken();
      if (token == JsonToken.FIELD_NAME && ++keys > MAX_KEYS) {
        throw new CheckpointException(file.path(), what + " has more than " + MAX_KEYS + " keys");
      }
      return token;
    }

    @Override
    public JsonParser skipChildren() throws IOException {
      int depth = currentToken().isStructStart() ? 1 : 0;
      while (depth > 0) {
        JsonToken token = nextToken();
        if (token == null) {
          return this;
        }
        depth += token.isStructStart() ? 1 : token.isStructEnd() ? -1 : 0;
      }
      return this;
    }
  }

  /** Whether a text can be written as UTF-8: JSON's escapes can spell halves of characters. */
  static boolean isWellFormed(String text) {
    return StandardCharsets.UTF_8.newEncoder().canEncode(text);
  }
}
