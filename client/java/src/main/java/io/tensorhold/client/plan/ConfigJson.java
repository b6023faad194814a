package io.tensorhold.client.plan;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.tensorhold.client.checkpoint.CheckpointException;
import io.tensorhold.client.plan.ModelConfig.Family;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * One config.json, from a stranger: bounded in size, depth and every number it states, so that the
 * products of its numbers fit a long.
 */
final class ConfigJson {
  private static final int MAX_BYTES = 1 << 20;
  private static final int MAX_DEPTH = 64;

  private static final long MAX_LAYERS = 100_000;
  private static final long MAX_WIDTH = 1_000_000;
  private static final long MAX_ROWS = 1_000_000_000;
  private static final long MAX_EXPERTS = 10_000;

  private static final ObjectMapper JSON =
      JsonMapper.builder(
              JsonFactory.builder()
                  .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                  .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
                  .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
                  .streamReadConstraints(
                      StreamReadConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
                  .build())
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private final Path path;
  private final JsonNode root;

  private ConfigJson(Path path, JsonNode root) {
    this.path = path;
    this.root = root;
  }

  static ConfigJson read(Path given) throws IOException {
    Path path = Files.isDirectory(given) ? given.resolve("config.json") : given;
    if (!Files.isRegularFile(path)) {
      throw new CheckpointException(path, "no such file");
    }
    byte[] bytes;
    try (InputStream in = Files.newInputStream(path)) {
      bytes = in.readNBytes(MAX_BYTES + 1);
    }
    if (bytes.length > MAX_BYTES) {
      throw new CheckpointException(path, "a config.json has at most " + MAX_BYTES + " bytes");
    }
    try {
      JsonNode root = JSON.readTree(bytes);
      if (root == null || !root.isObject()) {
        throw new CheckpointException(path, "not a JSON object");
      }
      return new ConfigJson(path, root);
    } catch (JsonProcessingException e) {
      String why = quote(String.valueOf(e.getOriginalMessage()));
      throw new CheckpointException(path, "not valid JSON: " + why, e);
    }
  }

  ModelConfig toModelConfig() throws CheckpointException {
    JsonNode type = root.path("model_type");
    return switch (type.asText()) {
      case "gpt2" -> gpt2();
      case "bert" -> bert();
      case "bloom" -> bloom();
      case "llama", "mistral" -> llama(1);
      case "mixtral" -> llama(number("num_local_experts", 1, MAX_EXPERTS));
      default -> {
        String seen = type.isMissingNode() ? "is missing" : quote(type.asText()) + " is not known";
        throw bad("model_type " + seen + "; known are gpt2, bert, bloom, llama, mistral, mixtral");
      }
    };
  }

  private ModelConfig gpt2() throws CheckpointException {
    long hidden = number("n_embd", 1, MAX_WIDTH);
    long heads = number("n_head", 1, MAX_WIDTH);
    return new ModelConfig(
        Family.GPT2,
        number("n_layer", 1, MAX_LAYERS),
        hidden,
        heads,
        heads,
        headSize(hidden, heads),
        isGiven("n_inner") ? number("n_inner", 1, MAX_WIDTH) : 4 * hidden,
        number("vocab_size", 1, MAX_ROWS),
        number(isGiven("n_positions") ? "n_positions" : "n_ctx", 1, MAX_ROWS),
        0,
        1,
        flag("tie_word_embeddings", true));
  }

  private ModelConfig bert() throws CheckpointException {
    long hidden = number("hidden_size", 1, MAX_WIDTH);
    long heads = number("num_attention_heads", 1, MAX_WIDTH);
    return new ModelConfig(
        Family.BERT,
        number("num_hidden_layers", 1, MAX_LAYERS),
        hidden,
        heads,
        heads,
        headSize(hidden, heads),
        number("intermediate_size", 1, MAX_WIDTH),
        number("vocab_size", 1, MAX_ROWS),
        number("max_position_embeddings", 1, MAX_ROWS),
        isGiven("type_vocab_size") ? number("type_vocab_size", 0, MAX_ROWS) : 2,
        1,
        true);
  }

  private ModelConfig bloom() throws CheckpointException {
    long hidden = number(isGiven("n_embed") ? "n_embed" : "hidden_size", 1, MAX_WIDTH);
    long heads =
        number(isGiven("num_attention_heads") ? "num_attention_heads" : "n_head", 1, MAX_WIDTH);
    return new ModelConfig(
        Family.BLOOM,
        number(isGiven("num_hidden_layers") ? "num_hidden_layers" : "n_layer", 1, MAX_LAYERS),
        hidden,
        heads,
        heads,
        headSize(hidden, heads),
        4 * hidden,
        number("vocab_size", 1, MAX_ROWS),
        0,
        0,
        1,
        flag("tie_word_embeddings", true));
  }

  private ModelConfig llama(long experts) throws CheckpointException {
    refuseBias("attention_bias");
    refuseBias("mlp_bias");
    long hidden = number("hidden_size", 1, MAX_WIDTH);
    long heads = number("num_attention_heads", 1, MAX_WIDTH);
    long kvHeads =
        isGiven("num_key_value_heads") ? number("num_key_value_heads", 1, MAX_WIDTH) : heads;
    if (heads % kvHeads != 0) {
      throw bad(
          "num_attention_heads "
              + heads
              + " is not a multiple of "
              + kvHeads
              + ", the heads"
              + " of keys and values");
    }
    return new ModelConfig(
        Family.LLAMA,
        number("num_hidden_layers", 1, MAX_LAYERS),
        hidden,
        heads,
        kvHeads,
        isGiven("head_dim") ? number("head_dim", 1, MAX_WIDTH) : headSize(hidden, heads),
        number("intermediate_size", 1, MAX_WIDTH),
        number("vocab_size", 1, MAX_ROWS),
        0,
        0,
        experts,
        flag("tie_word_embeddings", false));
  }

  private void refuseBias(String key) throws CheckpointException {
    if (flag(key, false)) {
      throw bad(
          key
              + " is true; the formula of this family counts no biases, plan from the"
              + " checkpoint itself");
    }
  }

  private long headSize(long hidden, long heads) throws CheckpointException {
    if (hidden % heads != 0) {
      throw bad("the hidden size " + hidden + " is not a multiple of the heads, " + heads);
    }
    return hidden / heads;
  }

  private boolean isGiven(String key) {
    return !root.path(key).isMissingNode() && !root.path(key).isNull();
  }

  private boolean flag(String key, boolean absent) throws CheckpointException {
    if (!isGiven(key)) {
      return absent;
    }
    if (!root.path(key).isBoolean()) {
      throw bad(key + " is " + quote(root.path(key).toString()) + ", allowed are true and false");
    }
    return root.path(key).booleanValue();
  }

  private long number(String key, long least, long most) throws CheckpointException {
    JsonNode node = root.path(key);
    if (node.isMissingNode()) {
      throw bad(key + " is missing");
    }
    boolean whole = node.isIntegralNumber() && node.canConvertToLong();
    if (!whole || node.longValue() < least || node.longValue() > most) {
      throw bad(
          key
              + " is "
              + quote(node.toString())
              + ", allowed are whole numbers from "
              + least
              + " to "
              + most);
    }
    return node.longValue();
  }

  private CheckpointException bad(String problem) {
    return new CheckpointException(path, problem);
  }
}
