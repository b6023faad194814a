package io.tensorhold.client;

import java.security.GeneralSecurityException;
import java.util.Locale;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;

/** Says for people what made a TLS handshake fail. */
final class TlsFault {
  private TlsFault() {}

  /** The fault behind an error; null: TLS has no part in it. */
  static @Nullable String in(Throwable error) {
    Throwable fault = null;
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof SSLException
          || (fault != null && cause instanceof GeneralSecurityException)) {
        fault = cause;
      }
    }
    return fault == null ? null : explain(String.valueOf(fault.getMessage()));
  }

  private static String explain(String text) {
    String small = text.toLowerCase(Locale.ROOT);
    if (small.contains("not an ssl/tls record")) {
      return "the server does not use TLS: leave --tls-ca and TENSORHOLD_TLS_CA away,"
          + " or give the server its tls.certificate";
    }
    if (small.contains("certificate_required")) {
      return "the server wants to see a certificate: --tls-certificate and --tls-key, or"
          + " TENSORHOLD_TLS_CERTIFICATE and TENSORHOLD_TLS_KEY";
    }
    if (small.contains("alert")) {
      return "the server refuses this client's certificate: is it from the authority in the"
          + " server's tls.client-ca, and not expired? (%s)".formatted(text);
    }
    if (small.contains("certification path")) {
      return "the server's certificate is from none of the authorities in --tls-ca or"
          + " TENSORHOLD_TLS_CA";
    }
    if (small.contains("notafter")) {
      return "the server's certificate has expired (%s)".formatted(text);
    }
    if (small.contains("subject alternative")) {
      return "the server's certificate is for other names than the address that it was called at"
          + " (%s)".formatted(text);
    }
    return text;
  }
}
