package io.tensorhold.wire;

import io.grpc.netty.GrpcSslContexts;
import io.netty.handler.ssl.ClientAuth;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import javax.net.ssl.SSLException;

/**
 * Netty's TLS out of an {@link TlsIdentity}: BoringSSL where its library is there, which is on
 * Linux, and the JDK's elsewhere, at two thirds of the speed.
 */
final class TlsContexts {
  private TlsContexts() {}

  static SslContext client(TlsIdentity identity) {
    SslContextBuilder builder = SslContextBuilder.forClient().trustManager(identity.trustManager());
    if (identity.hasCertificate()) {
      builder.keyManager(identity.keyManager());
    }
    return build(builder);
  }

  static SslContext server(TlsIdentity identity, boolean clientsShowCertificates) {
    return build(
        SslContextBuilder.forServer(identity.keyManager())
            .trustManager(identity.trustManager())
            .clientAuth(clientsShowCertificates ? ClientAuth.REQUIRE : ClientAuth.NONE));
  }

  private static SslContext build(SslContextBuilder builder) {
    try {
      return GrpcSslContexts.configure(builder).build();
    } catch (SSLException e) {
      throw new IllegalArgumentException("TLS can't be set up: " + e.getMessage(), e);
    }
  }
}
