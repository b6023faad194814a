package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.server.app.ServerConfig;
import io.tensorhold.wire.TlsFiles;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.Key;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/** Authorities and certificates in a folder, made by the JDK's keytool: NAME.pem and NAME.key. */
final class TestCertificates {
  private static final String PASSWORD = "changeit";
  private static final String NAMES = "san=dns:localhost,ip:127.0.0.1";

  private final Path folder;

  TestCertificates(Path folder) {
    this.folder = folder;
  }

  Path certificate(String name) {
    return folder.resolve(name + ".pem");
  }

  Path key(String name) {
    return folder.resolve(name + ".key");
  }

  TlsFiles files(String authority, String name) {
    return new TlsFiles(certificate(authority), certificate(name), key(name));
  }

  ServerConfig.Tls server(String name, String authority, String clients) {
    return new ServerConfig.Tls(
        certificate(name).toString(),
        key(name).toString(),
        certificate(authority).toString(),
        clients.isEmpty() ? "" : certificate(clients).toString());
  }

  /** An authority. */
  void authority(String name) throws Exception {
    pair(name, "bc:c");
    keytool(name, "-exportcert", "-rfc", "-file", certificate(name).toString());
  }

  /** A certificate for localhost that is valid for a month from {@code start}. */
  void signed(String authority, String name, String start) throws Exception {
    signed(authority, name, start, NAMES);
  }

  void signed(String authority, String name, String start, String names) throws Exception {
    pair(name, names);
    Path request = folder.resolve(name + ".csr");
    keytool(name, "-certreq", "-file", request.toString());
    keytool(
        authority,
        "-gencert",
        "-rfc",
        "-ext",
        names,
        "-startdate",
        start,
        "-validity",
        "30",
        "-infile",
        request.toString(),
        "-outfile",
        certificate(name).toString());
  }

  private void pair(String name, String extension) throws Exception {
    keytool(
        name,
        "-genkeypair",
        "-keyalg",
        "EC",
        "-groupname",
        "secp256r1",
        "-dname",
        "CN=" + name,
        "-ext",
        extension);
    Files.writeString(key(name), pem(store(name)));
  }

  private static String pem(Key key) {
    return "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n"
        .formatted(Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(key.getEncoded()));
  }

  private Key store(String name) throws IOException, GeneralSecurityException {
    KeyStore store = KeyStore.getInstance("PKCS12");
    try (InputStream in = Files.newInputStream(folder.resolve(name + ".p12"))) {
      store.load(in, PASSWORD.toCharArray());
    }
    return store.getKey(name, PASSWORD.toCharArray());
  }

  private void keytool(String alias, String command, String... more) throws Exception {
    List<String> line = new ArrayList<>();
    line.add(Path.of(System.getProperty("java.home"), "bin", "keytool").toString());
    line.add(command);
    line.addAll(List.of("-alias", alias, "-storetype", "PKCS12", "-storepass", PASSWORD));
    line.addAll(List.of("-keystore", folder.resolve(alias + ".p12").toString()));
    line.addAll(List.of(more));
    Process process = new ProcessBuilder(line).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(said).isZero();
  }
}
