package io.tensorhold.wire;

import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.ByteToMessageDecoder;
import io.netty.handler.codec.http2.Http2ConnectionHandler;
import io.netty.handler.codec.http2.Http2Settings;

/**
 * Lets the peer send HTTP/2 frames of {@value #MAX_FRAME_BYTES} bytes instead of 16 KiB, and takes
 * them from the reads they came in without copying them together. gRPC has no option for either, so
 * this handler sends one more SETTINGS frame when the first bytes arrive, and leaves.
 */
final class LargeFrames extends ChannelInboundHandlerAdapter {
  static final int MAX_FRAME_BYTES = 256 << 10;

  private LargeFrames() {}

  /** Adds the handler to a channel that has read nothing yet. */
  static <C extends Channel> C on(C channel) {
    channel.pipeline().addFirst(new LargeFrames());
    return channel;
  }

  @Override
  public void channelRead(ChannelHandlerContext context, Object message) {
    Http2ConnectionHandler http2 = context.pipeline().get(Http2ConnectionHandler.class);
    if (http2 != null) {
      http2.setCumulator(ByteToMessageDecoder.COMPOSITE_CUMULATOR);
      ChannelHandlerContext at = context.pipeline().context(http2);
      var _ =
          http2
              .encoder()
              .writeSettings(
                  at, new Http2Settings().maxFrameSize(MAX_FRAME_BYTES), at.newPromise());
      at.flush();
      context.pipeline().remove(this);
    }
    context.fireChannelRead(message);
  }
}
