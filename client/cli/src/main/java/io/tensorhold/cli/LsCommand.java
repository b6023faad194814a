package io.tensorhold.cli;

import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.ListModelsResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Lists models. */
@Command(
    name = "ls",
    mixinStandardHelpOptions = true,
    description = "List the models whose names begin so.",
    footer = {"", "Example: tensorhold ls bert"})
final class LsCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(arity = "0..1", paramLabel = "PREFIX", description = "Beginning of the names.")
  private String prefix = "";

  @Option(names = "--all", description = "Also models that are still being loaded.")
  private boolean all;

  @Override
  public Integer call() {
    try (TensorholdClient client = globals.connect()) {
      List<ListModelsResponse.Entry> models = client.list(prefix, all);
      List<Map<String, Object>> documents = new ArrayList<>();
      List<List<String>> rows = new ArrayList<>();
      for (ListModelsResponse.Entry model : models) {
        documents.add(
            new TreeMap<>(
                Map.of(
                    "name", model.getName(),
                    "state", model.getState().name(),
                    "parameters", model.getParameters(),
                    "aliases", model.getAliases(),
                    "elements", model.getElements(),
                    "bytes", model.getBytes())));
        rows.add(
            List.of(
                model.getName(),
                model.getState().name(),
                Output.count(model.getParameters()),
                Output.count(model.getAliases()),
                Output.count(model.getElements()),
                Output.bytes(model.getBytes())));
      }
      globals
          .output()
          .print(
              documents,
              () ->
                  Output.table(
                      List.of("NAME", "STATE", "TENSORS", "ALIASES", "ELEMENTS", "BYTES/REPLICA"),
                      rows));
    }
    return 0;
  }
}
