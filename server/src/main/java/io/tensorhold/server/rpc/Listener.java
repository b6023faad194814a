package io.tensorhold.server.rpc;

import io.grpc.netty.NettyServerBuilder;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.TlsIdentity;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Where and how the API is listened for.
 *
 * @param tls who this server is; null: no TLS
 * @param clientsShowCertificates whether clients without a certificate are turned away
 * @param local where clients on this host are listened for too; null: nowhere
 */
public record Listener(
    InetSocketAddress address,
    @Nullable TlsIdentity tls,
    boolean clientsShowCertificates,
    @Nullable Path local) {
  NettyServerBuilder builder() {
    return tls == null
        ? ChannelSettings.server(address)
        : ChannelSettings.server(address, tls, clientsShowCertificates);
  }
}
