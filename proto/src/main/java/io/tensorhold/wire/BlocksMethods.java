package io.tensorhold.wire;

import io.grpc.MethodDescriptor;
import io.tensorhold.proto.v1.BlocksGrpc;
import io.tensorhold.proto.v1.CheckpointRequest;
import io.tensorhold.proto.v1.CheckpointResponse;
import io.tensorhold.proto.v1.PullHeader;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;

/** The methods of {@code tensorhold.v1.Blocks}, with frames in place of generated messages. */
public final class BlocksMethods {
  private static final FrameMarshaller<PullHeader> PULL_FRAME =
      new FrameMarshaller<>(PullHeader.getDefaultInstance());
  private static final FrameMarshaller<PushHeader> PUSH_FRAME =
      new FrameMarshaller<>(PushHeader.getDefaultInstance());
  private static final FrameMarshaller<PushPullHeader> PUSH_PULL_FRAME =
      new FrameMarshaller<>(PushPullHeader.getDefaultInstance());

  /** Pull: blocks out. */
  public static final MethodDescriptor<PullRequest, Frame<PullHeader>> PULL =
      BlocksGrpc.getPullMethod().toBuilder(
              BlocksGrpc.getPullMethod().getRequestMarshaller(), PULL_FRAME)
          .build();

  /** Push: blocks in, acknowledgements out. */
  public static final MethodDescriptor<Frame<PushHeader>, PushResponse> PUSH =
      BlocksGrpc.getPushMethod().toBuilder(
              PUSH_FRAME, BlocksGrpc.getPushMethod().getResponseMarshaller())
          .build();

  /** PushPull: blocks in, acknowledgements with updated blocks out. */
  public static final MethodDescriptor<Frame<PushHeader>, Frame<PushPullHeader>> PUSH_PULL =
      BlocksGrpc.getPushPullMethod().toBuilder(PUSH_FRAME, PUSH_PULL_FRAME).build();

  /** Checkpoint, as generated. */
  public static final MethodDescriptor<CheckpointRequest, CheckpointResponse> CHECKPOINT =
      BlocksGrpc.getCheckpointMethod();

  private BlocksMethods() {}
}
