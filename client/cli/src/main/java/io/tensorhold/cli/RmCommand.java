package io.tensorhold.cli;

import io.tensorhold.client.TensorholdClient;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Deletes models. */
@Command(
    name = "rm",
    mixinStandardHelpOptions = true,
    description = "Delete models. They are gone at once; their space is freed in the background.",
    footer = {"", "Example: tensorhold rm bert bert-q8"})
final class RmCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(arity = "1..*", paramLabel = "NAME", description = "The models.")
  private List<String> names = List.of();

  @Option(names = "--loading", description = "Also if it is still being loaded.")
  private boolean loading;

  @Override
  public Integer call() {
    try (TensorholdClient client = globals.connect()) {
      for (String name : names) {
        client.delete(name, loading);
      }
    }
    globals
        .output()
        .print(
            Map.of("deleted", names), () -> names.forEach(name -> Output.line("%s deleted", name)));
    return 0;
  }
}
