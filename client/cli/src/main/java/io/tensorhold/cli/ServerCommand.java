package io.tensorhold.cli;

import io.tensorhold.server.app.ServerMain;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Unmatched;

/**
 * Runs a shard server; {@link Main} hands its flags on unparsed, they are the configuration's keys.
 */
@Command(
    name = "server",
    description = "Run a shard server; see tensorhold server --help.",
    mixinStandardHelpOptions = false)
final class ServerCommand implements Callable<Integer> {
  @Unmatched private List<String> flags = List.of();

  @Parameters(hidden = true, arity = "0..*")
  private List<String> rest = List.of();

  @Override
  public Integer call() {
    List<String> all = new java.util.ArrayList<>(flags);
    all.addAll(rest);
    return ServerMain.run(all.toArray(String[]::new));
  }
}
