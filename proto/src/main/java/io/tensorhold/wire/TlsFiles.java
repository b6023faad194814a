package io.tensorhold.wire;

import java.nio.file.Path;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The PEM files of one end of a connection.
 *
 * @param authority certificates of the authorities that the other end's certificate must come from;
 *     null: no TLS
 * @param certificate this end's certificate, followed by those between it and its authority; null:
 *     this end shows none, as clients may
 * @param key private key of the certificate: PKCS #8, not encrypted, RSA or EC
 */
public record TlsFiles(@Nullable Path authority, @Nullable Path certificate, @Nullable Path key) {
  /** No TLS. */
  public static final TlsFiles NONE = new TlsFiles(null, null, null);

  /** Checks which files there are; what they hold is checked when they are read. */
  public TlsFiles {
    if ((certificate == null) != (key == null)) {
      throw new IllegalArgumentException(
          "TLS: the %s is missing: a certificate and its private key go together"
              .formatted(key == null ? "private key" : "certificate"));
    }
    if (authority == null && certificate != null) {
      throw new IllegalArgumentException(
          "TLS: the certificate authority is missing: a certificate alone says nothing of whom to trust");
    }
  }

  /**
   * The files that {@code TENSORHOLD_TLS_CA}, {@code TENSORHOLD_TLS_CERTIFICATE} and {@code
   * TENSORHOLD_TLS_KEY} name, without which there is no TLS.
   */
  public static TlsFiles of(Map<String, String> environment) {
    return of(
        environment.get("TENSORHOLD_TLS_CA"),
        environment.get("TENSORHOLD_TLS_CERTIFICATE"),
        environment.get("TENSORHOLD_TLS_KEY"));
  }

  /** Files by name; null or blank: none. */
  public static TlsFiles of(
      @Nullable String authority, @Nullable String certificate, @Nullable String key) {
    return new TlsFiles(path(authority), path(certificate), path(key));
  }

  private static @Nullable Path path(@Nullable String name) {
    return name == null || name.isBlank() ? null : Path.of(name);
  }
}
