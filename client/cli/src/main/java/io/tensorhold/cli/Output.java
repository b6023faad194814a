package io.tensorhold.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** What a command prints: text for people, or one JSON document. */
final class Output {
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);

  private final boolean json;

  Output(boolean json) {
    this.json = json;
  }

  boolean json() {
    return json;
  }

  /** Prints the document if JSON is wanted, else runs what prints the text. */
  void print(Object document, Runnable text) {
    if (json) {
      try {
        System.out.println(JSON.writeValueAsString(document));
      } catch (JsonProcessingException e) {
        throw new IllegalStateException(e);
      }
    } else {
      text.run();
    }
  }

  /** A line of text. */
  @SuppressWarnings("AnnotateFormatMethod") // the annotation would be a dependency of its own
  static void line(String format, Object... args) {
    System.out.println(String.format(Locale.ROOT, format, args));
  }

  /** Columns, as wide as their widest cell; numbers stand right. */
  static void table(List<String> head, List<List<String>> rows) {
    int[] widths = new int[head.size()];
    List<List<String>> all = new ArrayList<>();
    all.add(head);
    all.addAll(rows);
    for (List<String> row : all) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row.get(i).length());
      }
    }
    for (List<String> row : all) {
      StringBuilder text = new StringBuilder();
      for (int i = 0; i < widths.length; i++) {
        String cell = row.get(i);
        boolean right = i > 0 && numeric(rows, i);
        String pad = " ".repeat(widths[i] - cell.length());
        text.append(right ? pad + cell : cell + pad).append("  ");
      }
      System.out.println(text.toString().stripTrailing());
    }
  }

  private static boolean numeric(List<List<String>> rows, int column) {
    return rows.stream()
        .allMatch(row -> row.get(column).isEmpty() || Character.isDigit(row.get(column).charAt(0)));
  }

  /** Bytes for people: 22.7 MiB. */
  static String bytes(long bytes) {
    String[] units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = bytes;
    int unit = 0;
    while (value >= 1024 && unit < units.length - 1) {
      value /= 1024;
      unit++;
    }
    return unit == 0
        ? bytes + " B"
        : String.format(Locale.ROOT, value < 10 ? "%.2f %s" : "%.1f %s", value, units[unit]);
  }

  /** A count with separators: 22,713,216. */
  static String count(long value) {
    return String.format(Locale.ROOT, "%,d", value);
  }
}
