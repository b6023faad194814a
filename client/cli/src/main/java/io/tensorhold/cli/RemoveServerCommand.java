package io.tensorhold.cli;

import io.tensorhold.client.TensorholdClient;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** Takes a server out of the cluster. */
@Command(
    name = "remove-server",
    mixinStandardHelpOptions = true,
    description = {
      "Take a server out of the cluster for good: one whose disk is lost, or that is not wanted.",
      "Its replicas go to another server, as soon as there is one. Ids are in `tensorhold status`.",
      "A server that lives is to be stopped afterwards."
    },
    footer = {"", "Example: tensorhold remove-server 3f9c01ab"})
final class RemoveServerCommand implements Callable<Integer> {
  @Mixin private Globals globals = new Globals();

  @Parameters(paramLabel = "ID", description = "The server.")
  private String id = "";

  @Override
  public Integer call() {
    try (TensorholdClient client = globals.connect()) {
      client.removeServer(id);
    }
    globals.output().print(Map.of("removed", id), () -> Output.line("server %s removed", id));
    return 0;
  }
}
