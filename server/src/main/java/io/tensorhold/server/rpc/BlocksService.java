package io.tensorhold.server.rpc;

import io.grpc.BindableService;
import io.grpc.ServerServiceDefinition;
import io.grpc.ServiceDescriptor;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.BlocksGrpc;
import io.tensorhold.proto.v1.CheckpointRequest;
import io.tensorhold.proto.v1.CheckpointResponse;
import io.tensorhold.proto.v1.PullHeader;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.BlocksMethods;
import io.tensorhold.wire.Frame;
import java.util.concurrent.Executor;
import java.util.function.BooleanSupplier;

/** The Blocks service over our own marshallers. */
final class BlocksService implements BindableService {
  private final ClusterNode node;
  private final Trainer trainer;
  private final BlockRequests requests;
  private final Errors errors;
  private final Traffic traffic;
  private final BooleanSupplier diskFull;
  private final Executor executor;

  BlocksService(
      ClusterNode node,
      Trainer trainer,
      Errors errors,
      Traffic traffic,
      BooleanSupplier diskFull,
      Executor executor) {
    this.node = node;
    this.trainer = trainer;
    this.requests = new BlockRequests(node.catalog(), node.shardCount());
    this.errors = errors;
    this.traffic = traffic;
    this.diskFull = diskFull;
    this.executor = executor;
  }

  @Override
  public ServerServiceDefinition bindService() {
    // The generated descriptor carries the file that reflection shows; the methods are ours.
    ServiceDescriptor generated = BlocksGrpc.getServiceDescriptor();
    ServiceDescriptor.Builder ours =
        ServiceDescriptor.newBuilder(generated.getName())
            .setSchemaDescriptor(generated.getSchemaDescriptor())
            .addMethod(BlocksMethods.PULL)
            .addMethod(BlocksMethods.PUSH)
            .addMethod(BlocksMethods.PUSH_PULL)
            .addMethod(BlocksMethods.CHECKPOINT);
    return ServerServiceDefinition.builder(ours.build())
        .addMethod(BlocksMethods.PULL, ServerCalls.asyncServerStreamingCall(this::pull))
        .addMethod(BlocksMethods.PUSH, ServerCalls.asyncBidiStreamingCall(this::push))
        .addMethod(BlocksMethods.PUSH_PULL, ServerCalls.asyncBidiStreamingCall(this::pushPull))
        .addMethod(BlocksMethods.CHECKPOINT, ServerCalls.asyncUnaryCall(this::checkpoint))
        .build();
  }

  private void pull(PullRequest request, StreamObserver<Frame<PullHeader>> out) {
    ServerCallStreamObserver<Frame<PullHeader>> call =
        (ServerCallStreamObserver<Frame<PullHeader>>) out;
    new PullStream(node, requests, errors, traffic, request, call).start(executor);
  }

  private StreamObserver<Frame<PushHeader>> push(StreamObserver<PushResponse> out) {
    return stream(PushStream.acks((ServerCallStreamObserver<PushResponse>) out));
  }

  private StreamObserver<Frame<PushHeader>> pushPull(StreamObserver<Frame<PushPullHeader>> out) {
    return stream(
        PushStream.acksWithBlocks(
            node,
            traffic,
            errors,
            executor,
            (ServerCallStreamObserver<Frame<PushPullHeader>>) out));
  }

  private PushStream stream(PushStream.Sender sender) {
    PushStream stream = new PushStream(trainer, requests, errors, traffic, diskFull, sender);
    sender.request();
    return stream;
  }

  private void checkpoint(CheckpointRequest request, StreamObserver<CheckpointResponse> reply) {
    try {
      if (diskFull.getAsBoolean()) {
        throw BlockRequests.diskFull();
      }
      requests.checkShard(request.getShard());
      ModelView view = requests.model(request.getModelId(), 0, true);
      var _ =
          trainer
              .checkpoint(view.model(), request.getShard(), view.records())
              .whenComplete(
                  (done, failure) -> {
                    if (failure != null) {
                      reply.onError(errors.exception(failure));
                    } else {
                      reply.onNext(
                          CheckpointResponse.newBuilder()
                              .setLogIndex(done.logIndex())
                              .setBlocks(done.blocks())
                              .setBytes(done.bytes())
                              .build());
                      reply.onCompleted();
                    }
                  });
    } catch (RuntimeException e) {
      reply.onError(errors.exception(e));
    }
  }
}
