package io.tensorhold.wire;

import io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.NettyServerBuilder;
import io.netty.buffer.AdaptiveByteBufAllocator;
import io.netty.buffer.ByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.WriteBufferWaterMark;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.nio.NioDomainSocketChannel;
import io.netty.channel.socket.nio.NioServerDomainSocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.util.concurrent.DefaultThreadFactory;
import java.net.InetSocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Transport settings that both ends share.
 *
 * <p>What matters most for blocks is the write buffer's water mark: HTTP/2 flow control writes no
 * more at once than the channel has room for, which is 64 KiB by default.
 */
public final class ChannelSettings {
  /** Bytes of a message: more than any that the protocol allows, and no more. */
  public static final int MAX_MESSAGE_BYTES = 8 << 20;

  /** Payload bytes that a sender of pushes puts in one message at most. */
  public static final int PUSH_PAYLOAD_BYTES = 1 << 20;

  private static final WriteBufferWaterMark WATER_MARK = new WriteBufferWaterMark(1 << 20, 2 << 20);

  /** False: payloads are copied into Netty's buffers. For comparison, and should gRPC change. */
  private static final boolean PASS_THROUGH =
      !"false".equals(System.getProperty("tensorhold.wire.pass-through"));

  private static final ByteBufAllocator ALLOCATOR =
      new WireAllocator(new AdaptiveByteBufAllocator(true), PASS_THROUGH);

  /** Bytes that may wait in a stream before it stops being ready for more. */
  public static final int READY_BYTES = 2 << 20;

  private static final int FLOW_CONTROL_WINDOW = 8 << 20;

  /** What a Unix domain socket holds of a block that is being sent; the kernel allows less. */
  private static final int LOCAL_SEND_BYTES = 2 << 20;

  private static final int METADATA_BYTES = 64 << 10;

  /** Threads that serve connections: more than the processors would only take turns. */
  private static final int LOOPS = Math.min(8, Runtime.getRuntime().availableProcessors());

  private static final EventLoopGroup CLIENT_LOOPS = new Loops(LOOPS, "client-io");
  private static final EventLoopGroup SERVER_LOOPS =
      new Loops(LOOPS, "server-io") {
        @Override
        public ChannelFuture register(Channel connection) {
          return super.register(LargeFrames.on(connection));
        }
      };
  private static final EventLoopGroup ACCEPT_LOOP = new Loops(1, "accept");

  /** Daemon threads of the process, as gRPC's own are; a thread starts when it is first needed. */
  private static class Loops extends MultiThreadIoEventLoopGroup {
    Loops(int threads, String name) {
      super(threads, new DefaultThreadFactory(name, true), NioIoHandler.newFactory());
    }
  }

  private ChannelSettings() {}

  /** A channel to a server, without TLS. */
  public static NettyChannelBuilder client(String host, int port) {
    return client(host, port, null);
  }

  /**
   * A channel to a server.
   *
   * @param tls who this end is; null: no TLS
   */
  public static NettyChannelBuilder client(String host, int port, @Nullable TlsIdentity tls) {
    NettyChannelBuilder builder = NettyChannelBuilder.forAddress(host, port);
    if (tls == null) {
      builder.usePlaintext();
    } else {
      builder.sslContext(tls.clientContext());
    }
    return shared(builder.channelFactory(() -> LargeFrames.on(new NioSocketChannel())));
  }

  private static NettyChannelBuilder shared(NettyChannelBuilder builder) {
    return builder
        .eventLoopGroup(CLIENT_LOOPS)
        .withOption(ChannelOption.WRITE_BUFFER_WATER_MARK, WATER_MARK)
        .withOption(ChannelOption.ALLOCATOR, ALLOCATOR)
        .flowControlWindow(FLOW_CONTROL_WINDOW)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS);
  }

  /** A channel to a server on this host. */
  public static NettyChannelBuilder local(Path socket) {
    return shared(
        NettyChannelBuilder.forAddress(UnixDomainSocketAddress.of(socket))
            .overrideAuthority("localhost")
            .usePlaintext()
            .channelFactory(() -> LargeFrames.on(new NioDomainSocketChannel()))
            .withOption(ChannelOption.SO_SNDBUF, LOCAL_SEND_BYTES)
            // Null takes away what gRPC sets and this kind of channel would warn of.
            .withOption(ChannelOption.SO_KEEPALIVE, null));
  }

  /** A server for clients on its host. */
  public static NettyServerBuilder localServer(Path socket) {
    return shared(
        NettyServerBuilder.forAddress(UnixDomainSocketAddress.of(socket))
            .channelType(NioServerDomainSocketChannel.class)
            .withChildOption(ChannelOption.SO_SNDBUF, LOCAL_SEND_BYTES)
            .withChildOption(ChannelOption.SO_KEEPALIVE, null));
  }

  /** A server at an address, without TLS. */
  public static NettyServerBuilder server(InetSocketAddress listen) {
    return shared(NettyServerBuilder.forAddress(listen).channelType(NioServerSocketChannel.class));
  }

  private static NettyServerBuilder shared(NettyServerBuilder builder) {
    return builder
        .bossEventLoopGroup(ACCEPT_LOOP)
        .workerEventLoopGroup(SERVER_LOOPS)
        .withChildOption(ChannelOption.WRITE_BUFFER_WATER_MARK, WATER_MARK)
        .withChildOption(ChannelOption.ALLOCATOR, ALLOCATOR)
        .flowControlWindow(FLOW_CONTROL_WINDOW)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .maxInboundMetadataSize(METADATA_BYTES)
        .permitKeepAliveTime(10, TimeUnit.SECONDS)
        .permitKeepAliveWithoutCalls(true);
  }

  /**
   * A server at an address, with TLS.
   *
   * @param clientsShowCertificates whether clients without a certificate are turned away
   */
  public static NettyServerBuilder server(
      InetSocketAddress listen, TlsIdentity tls, boolean clientsShowCertificates) {
    return server(listen).sslContext(TlsContexts.server(tls, clientsShowCertificates));
  }
}
