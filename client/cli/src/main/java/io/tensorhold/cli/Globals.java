package io.tensorhold.cli;

import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.TensorholdClient;
import java.time.Duration;
import java.util.List;
import picocli.CommandLine.Option;

/** Options that every command takes. */
final class Globals {
  @Option(names = "--json", description = "Print one JSON document instead of text.")
  boolean json;

  @Option(
      names = {"-s", "--servers"},
      paramLabel = "HOST:PORT,...",
      defaultValue = "${env:TENSORHOLD_SERVERS:-127.0.0.1:7070}",
      description =
          "Any servers of the cluster (default: $TENSORHOLD_SERVERS, or ${DEFAULT-VALUE}).")
  String servers = "127.0.0.1:7070";

  @Option(
      names = "--timeout",
      paramLabel = "SECONDS",
      defaultValue = "30",
      description = "How long to try on without progress (default: ${DEFAULT-VALUE}).")
  int timeoutSeconds = 30;

  @Option(names = "--debug", hidden = true, description = "Print stack traces of errors.")
  boolean debug;

  TensorholdClient connect() {
    return TensorholdClient.connect(
        new ClientOptions(List.of(servers.split("\\s*,\\s*", -1)))
            .withDeadline(Duration.ofSeconds(timeoutSeconds)));
  }

  Output output() {
    return new Output(json);
  }
}
