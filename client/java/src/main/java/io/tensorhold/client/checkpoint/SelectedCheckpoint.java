package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * A part of a checkpoint, under other names. When a tensor is left out whose bytes another one
 * shares, that one has them.
 */
public final class SelectedCheckpoint implements Checkpoint {
  private final Checkpoint whole;
  private final List<TensorEntry> tensors = new ArrayList<>();

  /** What each is in the whole checkpoint. */
  private final Map<TensorEntry, TensorEntry> original = new HashMap<>();

  private final List<TensorAlias> aliases;

  /** A rule of renaming: every match of a regular expression is replaced. */
  public record Rename(Pattern pattern, String replacement) {
    /**
     * The rule {@code REGEX=REPLACEMENT}, cut at the first equals sign; $1 is the first group.
     *
     * @throws IllegalArgumentException if there is none, or the expression is not one
     */
    public static Rename parse(String rule) {
      int cut = rule.indexOf('=');
      if (cut <= 0) {
        throw new IllegalArgumentException("--rename takes REGEX=REPLACEMENT: value=" + rule);
      }
      try {
        return new Rename(Pattern.compile(rule.substring(0, cut)), rule.substring(cut + 1));
      } catch (PatternSyntaxException e) {
        throw new IllegalArgumentException(
            "--rename %s: %s at %d".formatted(rule, e.getDescription(), e.getIndex()), e);
      }
    }

    String apply(String name) {
      try {
        return pattern.matcher(name).replaceAll(replacement);
      } catch (IndexOutOfBoundsException | IllegalArgumentException e) {
        throw new IllegalArgumentException(
            "--rename %s=%s: %s".formatted(pattern, replacement, e.getMessage()), e);
      }
    }
  }

  /**
   * The tensors of a checkpoint that a pattern matches, renamed by all rules one after another.
   *
   * @param path what messages name
   * @param only patterns with * for any characters and ? for one; none: all tensors
   * @throws CheckpointException if a pattern matches nothing, or two tensors get one name
   */
  public SelectedCheckpoint(Path path, Checkpoint whole, List<String> only, List<Rename> renames)
      throws CheckpointException {
    this.whole = whole;
    Map<String, String> newName = new HashMap<>();
    Map<String, String> oldName = new HashMap<>();
    List<Pattern> patterns = only.stream().map(SelectedCheckpoint::glob).toList();
    boolean[] used = new boolean[patterns.size()];
    for (TensorEntry tensor : whole.tensors()) {
      boolean taken = patterns.isEmpty();
      for (int i = 0; i < patterns.size(); i++) {
        if (patterns.get(i).matcher(tensor.name()).matches()) {
          taken = true;
          used[i] = true;
        }
      }
      if (taken) {
        String name = tensor.name();
        for (Rename rename : renames) {
          name = rename.apply(name);
        }
        String former = oldName.put(name, tensor.name());
        if (former != null) {
          throw new CheckpointException(
              path,
              "%s and %s are both renamed to %s"
                  .formatted(quote(former), quote(tensor.name()), quote(name)));
        }
        newName.put(tensor.name(), name);
        TensorEntry renamed =
            new TensorEntry(name, tensor.dtype(), tensor.shape(), tensor.bytes(), tensor.codec());
        tensors.add(renamed);
        original.put(renamed, tensor);
      }
    }
    for (int i = 0; i < used.length; i++) {
      if (!used[i]) {
        throw new CheckpointException(path, "no tensor matches --only " + quote(only.get(i)));
      }
    }
    this.aliases = renamed(newName);
  }

  private List<TensorAlias> renamed(Map<String, String> newName) {
    Map<String, Long> elements = new HashMap<>();
    whole.tensors().forEach(t -> elements.put(t.name(), t.shape().elements()));
    Map<String, String> heir = new HashMap<>(); // of tensors that are left out
    List<TensorAlias> kept = new ArrayList<>();
    for (TensorAlias alias : whole.aliases()) {
      String name = newName.get(alias.name());
      if (name == null) {
        continue;
      }
      String owner = newName.getOrDefault(alias.of(), heir.get(alias.of()));
      if (owner != null) {
        kept.add(new TensorAlias(name, owner, alias.firstElement()));
      } else if (elements.get(alias.name()).equals(elements.get(alias.of()))) {
        heir.put(alias.of(), name);
      }
    }
    return kept;
  }

  private static Pattern glob(String pattern) {
    StringBuilder regex = new StringBuilder();
    for (int i = 0; i < pattern.length(); i++) {
      char c = pattern.charAt(i);
      regex.append(c == '*' ? ".*" : c == '?' ? "." : Pattern.quote(String.valueOf(c)));
    }
    return Pattern.compile(regex.toString(), Pattern.DOTALL);
  }

  @Override
  public String format() {
    return whole.format();
  }

  @Override
  public List<TensorEntry> tensors() {
    return tensors;
  }

  @Override
  public List<TensorAlias> aliases() {
    return aliases;
  }

  @Override
  public List<TensorEntry> attachments() {
    return whole.attachments();
  }

  @Override
  public Map<String, String> metadata() {
    return whole.metadata();
  }

  @Override
  public void read(TensorEntry tensor, long byteOffset, ByteBuffer dst) throws IOException {
    whole.read(original.getOrDefault(tensor, tensor), byteOffset, dst);
  }

  @Override
  public void close() throws IOException {
    whole.close();
  }
}
