package io.tensorhold.wire;

import io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.NettyServerBuilder;
import io.netty.buffer.AdaptiveByteBufAllocator;
import io.netty.buffer.ByteBufAllocator;
import io.netty.channel.ChannelOption;
import io.netty.channel.WriteBufferWaterMark;
import java.net.InetSocketAddress;
import java.util.concurrent.TimeUnit;

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

  /**
   * gRPC's own pool frees a chunk of 4 MiB whenever nothing is left in it, and makes and clears
   * another one at the next read: a third of the server's time under a stream of blocks.
   */
  private static final ByteBufAllocator ALLOCATOR = new AdaptiveByteBufAllocator(true);

  private static final int FLOW_CONTROL_WINDOW = 8 << 20;
  private static final int METADATA_BYTES = 64 << 10;

  private ChannelSettings() {}

  /** A channel to a server. */
  public static NettyChannelBuilder client(String host, int port) {
    return NettyChannelBuilder.forAddress(host, port)
        .usePlaintext()
        .withOption(ChannelOption.WRITE_BUFFER_WATER_MARK, WATER_MARK)
        .withOption(ChannelOption.ALLOCATOR, ALLOCATOR)
        .flowControlWindow(FLOW_CONTROL_WINDOW)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS);
  }

  /** A server at an address. */
  public static NettyServerBuilder server(InetSocketAddress listen) {
    return NettyServerBuilder.forAddress(listen)
        .withChildOption(ChannelOption.WRITE_BUFFER_WATER_MARK, WATER_MARK)
        .withChildOption(ChannelOption.ALLOCATOR, ALLOCATOR)
        .flowControlWindow(FLOW_CONTROL_WINDOW)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .maxInboundMetadataSize(METADATA_BYTES)
        .permitKeepAliveTime(10, TimeUnit.SECONDS)
        .permitKeepAliveWithoutCalls(true);
  }
}
