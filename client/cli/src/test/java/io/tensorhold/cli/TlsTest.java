package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ClientOptions;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OptimizerSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.server.app.ServerConfig;
import io.tensorhold.server.app.StartFailure;
import io.tensorhold.wire.TlsFiles;
import io.tensorhold.wire.TlsIdentity;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Real servers with TLS: what they let in, what they do not, and what people read then. */
@Timeout(180)
class TlsTest {
  @TempDir private static Path certificatesFolder;
  private static TestCertificates certificates = new TestCertificates(Path.of("unset"));

  @TempDir private Path data;

  @BeforeAll
  static void certificates() throws Exception {
    certificates = new TestCertificates(certificatesFolder);
    for (String authority : List.of("servers", "clients", "others")) {
      certificates.authority(authority);
    }
    certificates.signed("servers", "server", "-1d");
    certificates.signed("clients", "worker", "-1d");
    certificates.signed("others", "stranger", "-1d");
    certificates.signed("servers", "expired", "-60d");
  }

  private static TensorholdClient connect(String servers, TlsFiles tls) {
    return TensorholdClient.connect(
        new ClientOptions(List.of(servers.split(",", -1)))
            .withDeadline(Duration.ofSeconds(60))
            .withTls(tls));
  }

  private static void refuses(LocalServer server, TlsFiles tls, String... words) {
    ClientOptions options =
        new ClientOptions(List.of(server.address())).withDeadline(Duration.ofSeconds(5));
    TensorholdException e =
        catchThrowableOfType(
            TensorholdException.class, () -> TensorholdClient.connect(options.withTls(tls)));
    assertThat(e).hasMessageContainingAll(words).hasMessageContaining(server.address());
  }

  @Test
  void clusterTrainsUnderMutualTlsAndSurvivesAKill() throws Exception {
    ServerConfig.Tls tls = certificates.server("server", "servers", "clients");
    String[] flags = {
      "--shards=2",
      "--memory.budget=64MiB",
      "--tls.certificate=" + tls.certificate(),
      "--tls.key=" + tls.key(),
      "--tls.ca=" + tls.ca(),
      "--tls.client-ca=" + tls.clientCa()
    };
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(3, flags);
      try (TensorholdClient client =
          connect(processes.servers(), certificates.files("servers", "worker"))) {
        Replicas.until("three replicas", () -> Replicas.placed(client));
        client.create(
            ModelSpec.newBuilder()
                .setName("m")
                .setOptimizer(OptimizerSpec.newBuilder().setKind("sgd").putHyper("lr", 1))
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("w")
                        .setDtype(DType.F32)
                        .addDims(3000)
                        .setBlockElements(256))
                .build());
        try (Worker worker = client.joinModel("m", 0, 1)) {
          Parameter w = worker.model().parameter("w");
          float[] ones = new float[3000];
          Arrays.fill(ones, 1);
          for (int step = 1; step <= 20; step++) {
            if (step == 10) {
              processes.kill(0);
            }
            worker.step(step, Map.of(w, MemorySegment.ofArray(ones))).join();
          }
          assertThat(client.pullFloats(w)).containsOnly(-20);
        }
        processes.restart(0, flags);
        Replicas.until("the killed server to be back", () -> client.status(false).size() == 3);
        Replicas.until("equal checksums", () -> Replicas.checksumsAgree(client));
      }
    }
  }

  @Test
  void clientsThatServersDoNotKnowAreTurnedAway() throws Exception {
    try (LocalServer server =
        new LocalServer(data, certificates.server("server", "servers", "clients"))) {
      TlsFiles without = new TlsFiles(certificates.certificate("servers"), null, null);
      refuses(server, without, "wants to see a certificate", "--tls-certificate");
      refuses(server, certificates.files("servers", "stranger"), "refuses this client's");
      refuses(server, TlsFiles.NONE, "--tls-ca");
      try (TensorholdClient client =
          connect(server.address(), certificates.files("servers", "worker"))) {
        assertThat(client.list("", true)).isEmpty();
      }
    }
  }

  @Test
  void serversThatClientsDoNotTrustAreNotUsed() throws Exception {
    try (LocalServer server = new LocalServer(data, certificates.server("server", "servers", ""))) {
      TlsFiles wrong = new TlsFiles(certificates.certificate("others"), null, null);
      refuses(server, wrong, "none of the authorities");
      TlsFiles right = new TlsFiles(certificates.certificate("servers"), null, null);
      try (TensorholdClient client = connect(server.address(), right)) {
        assertThat(client.list("", true)).isEmpty();
      }
    }
  }

  @Test
  void certificateOfAnotherHostIsRefused() throws Exception {
    certificates.signed("servers", "elsewhere", "-1d", "san=dns:elsewhere");
    try (LocalServer server =
        new LocalServer(data, certificates.server("elsewhere", "servers", ""))) {
      TlsFiles tls = new TlsFiles(certificates.certificate("servers"), null, null);
      refuses(server, tls, "other names than the address");
    }
  }

  @Test
  void serverWithoutTlsIsNamedSo() throws Exception {
    try (LocalServer server = new LocalServer(data, "64MiB")) {
      TlsFiles tls = new TlsFiles(certificates.certificate("servers"), null, null);
      refuses(server, tls, "does not use TLS");
    }
  }

  @Test
  void renewedCertificateIsUsedByTheNextConnection() throws Exception {
    Path folder = Files.createDirectory(data.resolve("tls"));
    TestCertificates used = new TestCertificates(folder);
    replace(used, "server", "servers", 1);
    try (LocalServer server =
        new LocalServer(data.resolve("data"), used.server("server", "ca", ""))) {
      TlsFiles before = new TlsFiles(certificates.certificate("servers"), null, null);
      TlsFiles after = new TlsFiles(certificates.certificate("others"), null, null);
      connect(server.address(), before).close();
      refuses(server, after, "none of the authorities");
      Files.writeString(used.key("server"), "half written");
      Files.setLastModifiedTime(used.key("server"), FileTime.fromMillis(2));
      connect(server.address(), before).close();
      replace(used, "stranger", "others", 3);
      connect(server.address(), after).close();
      refuses(server, before, "none of the authorities");
    }
  }

  private static void replace(TestCertificates used, String name, String authority, int time)
      throws Exception {
    for (var copy :
        Map.of(
                certificates.certificate(name), used.certificate("server"),
                certificates.key(name), used.key("server"),
                certificates.certificate(authority), used.certificate("ca"))
            .entrySet()) {
      Files.copy(copy.getKey(), copy.getValue(), StandardCopyOption.REPLACE_EXISTING);
      Files.setLastModifiedTime(copy.getValue(), FileTime.fromMillis(time));
    }
  }

  private static void unusable(TlsFiles files, String... words) {
    assertThatThrownBy(() -> new TlsIdentity(files))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContainingAll(words);
  }

  @Test
  void filesThatCanNotBeUsedAreNamed() throws Exception {
    Path ca = certificates.certificate("servers");
    Path own = certificates.certificate("worker");
    Path key = certificates.key("worker");
    unusable(new TlsFiles(data.resolve("none.pem"), null, null), "none.pem", "is not there");
    unusable(new TlsFiles(key, null, null), "worker.key", "no certificate");
    unusable(new TlsFiles(ca, own, certificates.key("server")), "server.key", "does not belong");
    unusable(certificates.files("servers", "expired"), "expired.pem", "expired on 2");
    Path old = data.resolve("old.key");
    Files.writeString(old, Files.readString(key).replace("PRIVATE KEY", "EC PRIVATE KEY"));
    unusable(new TlsFiles(ca, own, old), "old.key", "openssl pkcs8 -topk8 -nocrypt");
    Files.writeString(old, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    unusable(new TlsFiles(ca, own, old), "old.key", "damaged or of another kind");
    unusable(new TlsFiles(ca, own, data), data.toString(), "can't be read");
    assertThatThrownBy(() -> new TlsFiles(ca, own, null)).hasMessageContaining("key is missing");
    assertThatThrownBy(() -> new TlsFiles(null, own, key)).hasMessageContaining("authority");
  }

  @Test
  void serverDoesNotStartWithFilesThatItCanNotUse() {
    assertThatThrownBy(() -> new LocalServer(data, certificates.server("expired", "servers", "")))
        .isInstanceOf(StartFailure.class)
        .hasMessageContaining("expired.pem expired on");
    assertThatThrownBy(() -> new ServerConfig.Tls("a.pem", "", "ca.pem", ""))
        .hasMessageContaining("tls.key is missing");
    assertThatThrownBy(() -> new ServerConfig.Tls("", "", "ca.pem", ""))
        .hasMessageContaining("tls.certificate is missing");
  }

  @Test
  void commandsTakeTheFilesAsFlags() throws Exception {
    try (LocalServer server =
        new LocalServer(data, certificates.server("server", "servers", "clients"))) {
      assertThat(
              Main.run(
                  "ls",
                  "--servers=" + server.address(),
                  "--tls-ca=" + certificates.certificate("servers"),
                  "--tls-certificate=" + certificates.certificate("worker"),
                  "--tls-key=" + certificates.key("worker")))
          .isZero();
      assertThat(Main.run("ls", "--servers=" + server.address(), "--timeout=2")).isOne();
    }
  }
}
