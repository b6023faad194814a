package io.tensorhold.cli;

import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.stub.StreamObserver;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.client.Worker;
import io.tensorhold.proto.v1.BlocksGrpc;
import io.tensorhold.proto.v1.Codec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushRequest;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.proto.v1.PushRowsRequest;
import io.tensorhold.proto.v1.RowsGrpc;
import io.tensorhold.wire.ShardHash;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.CompletableFuture;
import java.util.function.BiFunction;

/** A worker that dies in the middle of a step: its push reaches the first shard only. */
final class StepPieces {
  private StepPieces() {}

  /**
   * Pushes the blocks of a parameter that lie on the first block's shard, past the SDK.
   *
   * @param values of a block of the parameter
   * @return pushes that were acknowledged
   */
  static int pushOneShard(
      String address, Worker worker, Parameter parameter, long step, float[] values) {
    int shards = 4;
    int shard = ShardHash.shard(parameter.id(), 0, shards);
    PushHeader.Builder header =
        PushHeader.newBuilder()
            .setSession(worker.session().id())
            .setSeq(1000 + step)
            .setAckedBelow(1)
            .setModelId(parameter.model().id())
            .setShard(shard)
            .setOperation(Operation.GRADIENT)
            .setStep(step)
            .setRank(worker.rank());
    ByteBuffer payload =
        ByteBuffer.allocate(4 * (int) parameter.elements()).order(ByteOrder.LITTLE_ENDIAN);
    for (int block = 0; block < parameter.blocks(); block++) {
      if (ShardHash.shard(parameter.id(), block, shards) == shard) {
        int elements = parameter.elementsIn(block);
        header
            .addBlocksBuilder()
            .setParameterId(parameter.id())
            .setBlock(block)
            .setCodec(Codec.CODEC_F32)
            .setPayloadBytes(4 * elements);
        for (int i = 0; i < elements; i++) {
          payload.putFloat(values[i]);
        }
      }
    }
    PushResponse answer = send(address, header.build(), payload.flip());
    if (answer.hasError()) {
      throw TensorholdException.of(answer.getError());
    }
    return 1;
  }

  static PushResponse send(String address, PushHeader header, ByteBuffer payload) {
    PushRequest request =
        PushRequest.newBuilder().setHeader(header).setPayload(ByteString.copyFrom(payload)).build();
    return send(address, (channel, answers) -> BlocksGrpc.newStub(channel).push(answers), request);
  }

  static PushResponse sendRows(String address, PushRowsHeader header, ByteBuffer values) {
    PushRowsRequest request =
        PushRowsRequest.newBuilder()
            .setHeader(header)
            .setValues(ByteString.copyFrom(values))
            .build();
    return send(
        address, (channel, answers) -> RowsGrpc.newStub(channel).pushRows(answers), request);
  }

  private static <R> PushResponse send(
      String address,
      BiFunction<ManagedChannel, StreamObserver<PushResponse>, StreamObserver<R>> call,
      R request) {
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
    CompletableFuture<PushResponse> answer = new CompletableFuture<>();
    StreamObserver<R> out =
        call.apply(
            channel,
            new StreamObserver<>() {
              @Override
              public void onNext(PushResponse response) {
                answer.complete(response);
              }

              @Override
              public void onError(Throwable error) {
                answer.completeExceptionally(error);
              }

              @Override
              public void onCompleted() {}
            });
    out.onNext(request);
    out.onCompleted();
    PushResponse response = answer.join();
    channel.shutdownNow();
    return response;
  }
}
