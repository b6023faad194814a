package io.tensorhold.wire;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.InvalidKeyException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateExpiredException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateNotYetValidException;
import java.security.cert.X509Certificate;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Certificates and private keys out of PEM files. Whatever is wrong with one is an {@link
 * IllegalArgumentException} that names the file.
 */
final class PemFiles {
  private static final Pattern KEY =
      Pattern.compile("-----BEGIN ([A-Z ]*)PRIVATE KEY-----([^-]*)-----END");
  private static final List<String> ALGORITHMS = List.of("RSA", "EC");

  private PemFiles() {}

  /** All certificates of a file, at least one. */
  static List<X509Certificate> certificates(String what, Path file) {
    try {
      List<X509Certificate> all =
          CertificateFactory.getInstance("X.509")
              .generateCertificates(new ByteArrayInputStream(bytes(what, file)))
              .stream()
              .map(X509Certificate.class::cast)
              .toList();
      if (!all.isEmpty()) {
        return all;
      }
    } catch (CertificateException e) {
      throw wrong(what, file, "holds no certificates that can be read: " + e.getMessage());
    }
    throw wrong(what, file, "holds no certificate; allowed=PEM (-----BEGIN CERTIFICATE-----)");
  }

  /** A certificate that is valid now, and its chain. */
  static List<X509Certificate> chain(String what, Path file) {
    List<X509Certificate> chain = certificates(what, file);
    X509Certificate own = chain.getFirst();
    try {
      own.checkValidity();
    } catch (CertificateExpiredException e) {
      throw wrong(what, file, "expired on " + own.getNotAfter().toInstant());
    } catch (CertificateNotYetValidException e) {
      throw wrong(what, file, "is not valid before " + own.getNotBefore().toInstant());
    }
    return chain;
  }

  /** The private key of a certificate. */
  static PrivateKey key(Path file, X509Certificate certificate, Path certificateFile) {
    PrivateKey key = key(file);
    if (!pair(key, certificate.getPublicKey())) {
      throw wrong("private key", file, "does not belong to the certificate in " + certificateFile);
    }
    return key;
  }

  private static PrivateKey key(Path file) {
    Matcher found =
        KEY.matcher(new String(bytes("private key", file), StandardCharsets.ISO_8859_1));
    if (!found.find()) {
      throw wrong("private key", file, "holds no key; allowed=PEM (-----BEGIN PRIVATE KEY-----)");
    }
    if (!found.group(1).isEmpty()) {
      throw wrong(
          "private key",
          file,
          "value=\"%sPRIVATE KEY\" allowed=\"PRIVATE KEY\"; convert it: openssl pkcs8 -topk8 -nocrypt"
              .formatted(found.group(1)));
    }
    PKCS8EncodedKeySpec encoded;
    try {
      encoded = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(found.group(2)));
    } catch (IllegalArgumentException e) {
      throw wrong("private key", file, "is damaged: " + e.getMessage());
    }
    String fault = "";
    for (String algorithm : ALGORITHMS) {
      try {
        return KeyFactory.getInstance(algorithm).generatePrivate(encoded);
      } catch (InvalidKeySpecException e) {
        fault = e.getMessage();
      } catch (GeneralSecurityException e) {
        throw new IllegalStateException(e); // every JDK has both
      }
    }
    throw wrong(
        "private key",
        file,
        "is damaged or of another kind (%s); allowed=RSA, EC".formatted(fault));
  }

  private static boolean pair(PrivateKey mine, PublicKey theirs) {
    byte[] text = "Tensorhold".getBytes(StandardCharsets.US_ASCII);
    try {
      Signature signature =
          Signature.getInstance(
              mine.getAlgorithm().equals("EC") ? "SHA256withECDSA" : "SHA256withRSA");
      signature.initSign(mine);
      signature.update(text);
      byte[] signed = signature.sign();
      signature.initVerify(theirs);
      signature.update(text);
      return signature.verify(signed);
    } catch (InvalidKeyException | SignatureException otherKind) {
      return false;
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException(e); // every JDK has both
    }
  }

  private static byte[] bytes(String what, Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (NoSuchFileException e) {
      throw wrong(what, file, "is not there");
    } catch (AccessDeniedException e) {
      throw wrong(what, file, "may not be read by user " + System.getProperty("user.name"));
    } catch (IOException e) {
      throw wrong(what, file, "can't be read: " + e.getMessage());
    }
  }

  private static IllegalArgumentException wrong(String what, Path file, String fault) {
    return new IllegalArgumentException("TLS: the %s %s %s".formatted(what, file, fault));
  }
}
