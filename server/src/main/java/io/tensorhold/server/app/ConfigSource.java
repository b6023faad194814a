package io.tensorhold.server.app;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Where a server's configuration comes from: defaults, then a YAML file, then the environment, then
 * flags. A key that is not in {@link ServerConfig} is refused wherever it stands.
 */
final class ConfigSource {
  private static final ObjectMapper YAML =
      new ObjectMapper(new YAMLFactory())
          .setPropertyNamingStrategy(PropertyNamingStrategies.KEBAB_CASE);

  private final ObjectNode tree = YAML.valueToTree(ServerConfig.DEFAULTS);
  private final List<String> keys = new ArrayList<>();

  private ConfigSource() {
    collect("", tree);
  }

  /**
   * The configuration.
   *
   * @param args flags {@code --key value} or {@code --key=value}; {@code --config FILE} names the
   *     file
   * @throws StartFailure naming what is wrong, and where
   */
  static ServerConfig read(String[] args, Map<String, String> environment) {
    Map<String, String> flags = flags(args);
    ConfigSource source = new ConfigSource();
    String file = flags.remove("config");
    if (file == null) {
      file = environment.get("TENSORHOLD_CONFIG");
    }
    if (file != null) {
      source.overlayFile(Path.of(file));
    }
    for (String key : source.keys) {
      String value = environment.get(variable(key));
      if (value != null) {
        source.set(key, value);
      }
    }
    flags.forEach(
        (key, value) -> {
          if (!source.keys.contains(key)) {
            throw source.unknown("flag --" + key, key);
          }
          source.set(key, value);
        });
    try {
      return YAML.treeToValue(source.tree, ServerConfig.class);
    } catch (JsonProcessingException e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      throw new StartFailure(
          "configuration: "
              + (cause instanceof JsonProcessingException json
                  ? json.getOriginalMessage()
                  : cause.getMessage()));
    }
  }

  static String variable(String key) {
    return "TENSORHOLD_" + key.toUpperCase(Locale.ROOT).replace('.', '_').replace('-', '_');
  }

  /** Every key, for the help. */
  static List<String> allKeys() {
    return new ConfigSource().keys;
  }

  private static Map<String, String> flags(String[] args) {
    Map<String, String> flags = new java.util.LinkedHashMap<>();
    for (int i = 0; i < args.length; i++) {
      if (!args[i].startsWith("--")) {
        throw new StartFailure(
            "argument \"%s\": flags are --key value; see --help".formatted(args[i]));
      }
      int equals = args[i].indexOf('=');
      if (equals > 0) {
        flags.put(args[i].substring(2, equals), args[i].substring(equals + 1));
      } else if (i + 1 < args.length) {
        flags.put(args[i].substring(2), args[++i]);
      } else {
        throw new StartFailure("flag %s has no value".formatted(args[i]));
      }
    }
    return flags;
  }

  private void collect(String prefix, ObjectNode node) {
    for (Map.Entry<String, JsonNode> field : node.properties()) {
      String key = prefix + field.getKey();
      if (field.getValue() instanceof ObjectNode inner) {
        collect(key + ".", inner);
      } else {
        keys.add(key);
      }
    }
  }

  private void overlayFile(Path file) {
    JsonNode root;
    try {
      root = YAML.readTree(Files.readString(file));
    } catch (JsonProcessingException e) {
      throw new StartFailure(
          "configuration file %s, line %d: %s"
              .formatted(
                  file,
                  e.getLocation() == null ? 0 : e.getLocation().getLineNr(),
                  e.getOriginalMessage()));
    } catch (IOException e) {
      throw new StartFailure(
          "configuration file %s can't be read: %s".formatted(file, e.getMessage()));
    }
    if (root instanceof ObjectNode object) {
      overlay(file, "", object);
    } else if (!root.isMissingNode() && !root.isNull()) {
      throw new StartFailure("configuration file %s holds no keys".formatted(file));
    }
  }

  private void overlay(Path file, String prefix, ObjectNode from) {
    for (Map.Entry<String, JsonNode> field : from.properties()) {
      String key = prefix + field.getKey();
      if (field.getValue() instanceof ObjectNode inner && !keys.contains(key)) {
        overlay(file, key + ".", inner);
      } else if (!keys.contains(key)) {
        throw unknown("key %s in %s".formatted(key, file), key);
      } else if (!field.getValue().isNull()) {
        set(key, field.getValue().asText());
      }
    }
  }

  private StartFailure unknown(String what, String key) {
    String nearest = nearest(key);
    return new StartFailure(
        "unknown %s%s"
            .formatted(
                what,
                nearest == null
                    ? "; known are " + String.join(", ", keys)
                    : "; did you mean " + nearest + "?"));
  }

  private @Nullable String nearest(String key) {
    String tail = key.substring(key.lastIndexOf('.') + 1);
    for (String known : keys) {
      if (known.endsWith(tail) || known.replace("-", "").equals(key.replace("_", ""))) {
        return known;
      }
    }
    return null;
  }

  private void set(String key, String value) {
    ObjectNode node = tree;
    String last = key;
    for (int dot = last.indexOf('.'); dot >= 0; dot = last.indexOf('.')) {
      node = (ObjectNode) node.get(last.substring(0, dot));
      last = last.substring(dot + 1);
    }
    if (node.get(last).isInt()) {
      try {
        node.put(last, Integer.parseInt(value.strip()));
      } catch (NumberFormatException e) {
        throw new StartFailure("%s: value=\"%s\" allowed=a whole number".formatted(key, value));
      }
    } else {
      node.put(last, value);
    }
  }
}
