package io.tensorhold.cli;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Table;
import io.tensorhold.proto.v1.InitializerSpec;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Tables as commands show them, and what can't be done with them. */
final class TableText {
  private static final int SHOWN = 8;

  private TableText() {}

  static String line(Table table) {
    InitializerSpec initializer = table.table().getInitializer();
    return "%s: rows of %d %s, begun with %s%s"
        .formatted(
            table.name(),
            table.dim(),
            table.codec().label(),
            initializer.getKind(),
            initializer.getHyperCount() == 0 ? "" : " " + new TreeMap<>(initializer.getHyperMap()));
  }

  static List<Map<String, Object>> documents(ModelHandle model) {
    return model.tables().stream().map(TableText::document).toList();
  }

  private static Map<String, Object> document(Table table) {
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("name", table.name());
    document.put("id", table.id());
    document.put("dim", table.dim());
    document.put("codec", table.codec().label());
    document.put("initializer", table.table().getInitializer().getKind());
    document.put("initializer_hyper", table.table().getInitializer().getHyperMap());
    document.put("initializer_seed", table.table().getInitializer().getSeed());
    return document;
  }

  /** The first values of a row, each after a space. */
  static String row(float[] row) {
    StringBuilder line = new StringBuilder();
    for (int e = 0; e < Math.min(SHOWN, row.length); e++) {
      line.append(' ').append(row[e]);
    }
    return line.append(row.length > SHOWN ? " …" : "").toString();
  }

  /** Refuses what would leave the rows out. */
  static void refuse(ModelHandle model, String what) {
    if (!model.tables().isEmpty()) {
      throw new CliFailure(
          "%s holds tables (%s), which %s does not read: it would leave their rows out; export-table writes one"
              .formatted(
                  model.name(),
                  String.join(", ", model.tables().stream().map(Table::name).toList()),
                  what));
    }
  }
}
