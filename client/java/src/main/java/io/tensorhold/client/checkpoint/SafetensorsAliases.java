package io.tensorhold.client.checkpoint;

import static io.tensorhold.client.checkpoint.CheckpointException.quote;

import io.tensorhold.numerics.Shape;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * How aliases stand in the metadata of a safetensors file, which has no two tensors of the same
 * bytes.
 *
 * <pre>
 * NAME                    OF                   another name, as safetensors.torch.save_model says it
 * tensorhold.alias:NAME   FIRST 2x3 OF         a run of elements, or another shape; - is a scalar's
 * </pre>
 */
final class SafetensorsAliases {
  private static final String PREFIX = "tensorhold.alias:";
  private static final String SCALAR = "-";

  private SafetensorsAliases() {}

  /** The metadata with aliases added; {@code shapes} has those of all names. */
  static Map<String, String> write(
      Map<String, String> metadata, List<TensorAlias> aliases, Map<String, Shape> shapes) {
    Map<String, String> all = new TreeMap<>(metadata);
    for (TensorAlias alias : aliases) {
      Shape shape = shapes.get(alias.name());
      if (shape.equals(shapes.get(alias.of()))) {
        all.put(alias.name(), alias.of());
      } else {
        String dims =
            Arrays.stream(shape.dims()).mapToObj(Long::toString).collect(Collectors.joining("x"));
        all.put(
            PREFIX + alias.name(),
            alias.firstElement() + " " + (dims.isEmpty() ? SCALAR : dims) + " " + alias.of());
      }
    }
    return all;
  }

  /**
   * Adds to a table the aliases that the metadata speaks of, and takes them out of it. Text that
   * only looks like another name's stays: its value is the name of a tensor, its key is not.
   *
   * @throws CheckpointException if one of ours names nothing, or reaches past the tensor
   */
  static List<TensorAlias> take(Path path, Map<String, String> metadata, TensorTable tensors)
      throws CheckpointException {
    Map<String, TensorEntry> byName = new HashMap<>();
    tensors.entries().forEach(tensor -> byName.put(tensor.name(), tensor));
    List<TensorAlias> aliases = new ArrayList<>();
    for (Map.Entry<String, String> text : new TreeMap<>(metadata).entrySet()) {
      boolean part = text.getKey().startsWith(PREFIX);
      TensorAlias alias =
          part
              ? parse(path, text.getKey().substring(PREFIX.length()), text.getValue())
              : new TensorAlias(text.getKey(), text.getValue(), 0);
      TensorEntry owner = byName.get(alias.of());
      boolean free = !byName.containsKey(alias.name());
      if (part && (owner == null || !free)) {
        throw bad(path, alias, owner == null ? "there is no such tensor" : "its name is taken");
      }
      if (owner == null || !free) {
        continue;
      }
      Shape shape = part ? shape(path, alias, text.getValue()) : owner.shape();
      long first = alias.firstElement();
      if (shape.elements() > owner.shape().elements() - first) {
        throw bad(path, alias, "it has " + owner.shape().elements() + " elements");
      }
      if (owner.dtype().group() > 1 && !shape.equals(owner.shape())) {
        throw bad(path, alias, "its elements share bytes");
      }
      long bytes = owner.dtype().bytes(shape.elements());
      TensorEntry entry = new TensorEntry(alias.name(), owner.dtype(), shape, bytes);
      long skipped = part ? owner.dtype().bytes(first) : 0;
      tensors.add(entry, (offset, dst) -> tensors.read(owner, skipped + offset, dst));
      byName.put(alias.name(), entry);
      aliases.add(alias);
      metadata.remove(text.getKey());
    }
    return List.copyOf(aliases);
  }

  private static TensorAlias parse(Path path, String name, String text) throws CheckpointException {
    String[] parts = text.split(" ", 3);
    if (parts.length == 3 && parts[0].matches("[0-9]{1,18}")) {
      return new TensorAlias(name, parts[2], Long.parseLong(parts[0]));
    }
    throw bad(path, new TensorAlias(name, text, 0), "expected FIRST DIMSxDIMS OF");
  }

  private static Shape shape(Path path, TensorAlias alias, String text) throws CheckpointException {
    String dims = text.split(" ", 3)[1];
    if (dims.equals(SCALAR)) {
      return Shape.of();
    }
    if (!dims.matches("[0-9]{1,18}(x[0-9]{1,18}){0,31}")) {
      throw bad(path, alias, quote(dims) + " is not a shape");
    }
    try {
      return Shape.of(Arrays.stream(dims.split("x", -1)).mapToLong(Long::parseLong).toArray());
    } catch (IllegalArgumentException e) {
      throw bad(path, alias, e.getMessage());
    }
  }

  private static CheckpointException bad(Path path, TensorAlias alias, String problem) {
    return new CheckpointException(
        path,
        "metadata makes %s an alias of %s from element %d on: %s"
            .formatted(quote(alias.name()), quote(alias.of()), alias.firstElement(), problem));
  }
}
