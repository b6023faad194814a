package io.tensorhold.cli;

import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.wire.TlsFiles;
import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;
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
      names = "--tls-ca",
      paramLabel = "FILE",
      description =
          "Authorities of the servers' certificates, PEM; there is no TLS without it (default: $TENSORHOLD_TLS_CA).")
  @Nullable String tlsAuthority = System.getenv("TENSORHOLD_TLS_CA");

  @Option(
      names = "--tls-certificate",
      paramLabel = "FILE",
      description =
          "Certificate to show to servers that ask for one, PEM (default: $TENSORHOLD_TLS_CERTIFICATE).")
  @Nullable String tlsCertificate = System.getenv("TENSORHOLD_TLS_CERTIFICATE");

  @Option(
      names = "--tls-key",
      paramLabel = "FILE",
      description = "Its private key, PEM, PKCS #8 (default: $TENSORHOLD_TLS_KEY).")
  @Nullable String tlsKey = System.getenv("TENSORHOLD_TLS_KEY");

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
            .withDeadline(Duration.ofSeconds(timeoutSeconds))
            .withTls(TlsFiles.of(tlsAuthority, tlsCertificate, tlsKey)));
  }

  Output output() {
    return new Output(json);
  }
}
