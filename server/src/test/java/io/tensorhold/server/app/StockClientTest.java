package io.tensorhold.server.app;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.protobuf.ByteString;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.BlockRange;
import io.tensorhold.proto.v1.BlocksGrpc;
import io.tensorhold.proto.v1.CatalogGrpc;
import io.tensorhold.proto.v1.Codec;
import io.tensorhold.proto.v1.CreateModelRequest;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OpenSessionRequest;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.proto.v1.PullResponse;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushRequest;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.ShardHash;
import java.net.ServerSocket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A server as a client sees it that knows nothing but the .proto files. */
class StockClientTest {
  @TempDir Path directory;
  private int port;
  private TensorholdServer server;
  private ManagedChannel channel;

  @BeforeEach
  void start() throws Exception {
    port = freePort();
    int raftPort = freePort();
    server = open(raftPort);
    channel = ChannelSettings.client("127.0.0.1", port).build();
  }

  private TensorholdServer open(int raftPort) {
    String[] flags = {
      "--data-dir=" + directory,
      "--listen=127.0.0.1:" + port,
      "--raft.listen=127.0.0.1:" + raftPort,
      "--shards=2",
      "--memory.budget=64MiB"
    };
    return TensorholdServer.start(ConfigSource.read(flags, java.util.Map.of()));
  }

  static int freePort() throws Exception {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  @AfterEach
  void stop() {
    channel.shutdownNow();
    server.close();
  }

  private Model create(String name) {
    ParameterSpec.Builder w =
        ParameterSpec.newBuilder().setName("w").setDtype(DType.F32).addDims(4);
    ModelSpec.Builder spec = ModelSpec.newBuilder().setName(name).addParameters(w);
    spec.getOptimizerBuilder().setKind("sgd").putHyper("lr", 0.5);
    return CatalogGrpc.newBlockingStub(channel)
        .createModel(CreateModelRequest.newBuilder().setSpec(spec).build());
  }

  private PushResponse push(PushRequest request) throws Exception {
    CompletableFuture<PushResponse> answer = new CompletableFuture<>();
    StreamObserver<PushRequest> out =
        BlocksGrpc.newStub(channel)
            .push(
                new StreamObserver<>() {
                  @Override
                  public void onNext(PushResponse value) {
                    answer.complete(value);
                  }

                  @Override
                  public void onError(Throwable t) {
                    answer.completeExceptionally(t);
                  }

                  @Override
                  public void onCompleted() {
                    answer.completeExceptionally(new IllegalStateException("no answer"));
                  }
                });
    out.onNext(request);
    out.onCompleted();
    return answer.get(20, TimeUnit.SECONDS);
  }

  private PushRequest gradient(Model model, long session, long seq, float... values) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (float value : values) {
      bytes.putFloat(value);
    }
    long id = model.getSpec().getParameters(0).getId();
    PushHeader.Builder header =
        PushHeader.newBuilder()
            .setSession(session)
            .setSeq(seq)
            .setModelId(model.getId())
            .setShard(ShardHash.shard(id, 0, 2))
            .setOperation(Operation.GRADIENT)
            .setCatalogIndex(model.getCatalogIndex());
    header.addBlocks(
        BlockHeader.newBuilder()
            .setParameterId(id)
            .setCodec(Codec.CODEC_F32)
            .setPayloadBytes(bytes.capacity()));
    return PushRequest.newBuilder()
        .setHeader(header)
        .setPayload(ByteString.copyFrom(bytes.rewind()))
        .build();
  }

  private float[] pull(Model model) {
    PullRequest request =
        PullRequest.newBuilder()
            .setModelId(model.getId())
            .addBlocks(
                BlockRange.newBuilder()
                    .setParameterId(model.getSpec().getParameters(0).getId())
                    .setCount(1))
            .build();
    Iterator<PullResponse> answers = BlocksGrpc.newBlockingStub(channel).pull(request);
    ByteBuffer bytes =
        answers.next().getPayload().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
    assertThat(answers.hasNext()).isFalse();
    float[] values = new float[bytes.remaining() / 4];
    bytes.asFloatBuffer().get(values);
    return values;
  }

  private long session() {
    return CatalogGrpc.newBlockingStub(channel)
        .openSession(OpenSessionRequest.newBuilder().setLabel("test").build())
        .getSession();
  }

  @Test
  void gradientIsOneStepOfTheServersOptimizer() throws Exception {
    Model model = create("m");
    PushResponse answer = push(gradient(model, session(), 1, 2, -2, 4, 0));
    assertThat(answer.hasError()).isFalse();
    assertThat(answer.getLogIndex()).isPositive();
    assertThat(pull(model)).containsExactly(-1, 1, -2, 0);
  }

  @Test
  void retriedGradientIsAppliedOnce() throws Exception {
    Model model = create("m");
    long session = session();
    push(gradient(model, session, 1, 2, 2, 2, 2));
    assertThat(push(gradient(model, session, 1, 2, 2, 2, 2)).getDuplicate()).isTrue();
    assertThat(pull(model)).containsExactly(-1, -1, -1, -1);
  }

  @Test
  void stateOutlivesTheServer() throws Exception {
    Model model = create("m");
    long session = session();
    push(gradient(model, session, 1, 2, -2, 4, 0));
    channel.shutdownNow();
    server.close();
    server = open(freePort());
    channel = ChannelSettings.client("127.0.0.1", port).build();
    assertThat(pull(model)).containsExactly(-1, 1, -2, 0);
    assertThat(push(gradient(model, session, 1, 2, -2, 4, 0)).getDuplicate()).isTrue();
    assertThat(pull(model)).containsExactly(-1, 1, -2, 0);
  }

  @Test
  void refusalNamesReasonAndValues() throws Exception {
    Model model = create("m");
    PushResponse answer = push(gradient(model, session(), 1, 1, 2, 3));
    assertThat(answer.getError().getDetails(0).unpack(ErrorInfo.class))
        .satisfies(
            info -> {
              assertThat(info.getReason()).isEqualTo("PAYLOAD_LENGTH");
              assertThat(info.getMetadataMap())
                  .containsEntry("parameter", "w")
                  .containsEntry("value", "12")
                  .containsEntry("expected", "16");
            });
    assertThat(pull(model)).containsExactly(0, 0, 0, 0);
    StatusRuntimeException second =
        org.assertj.core.api.Assertions.catchThrowableOfType(
            StatusRuntimeException.class, () -> create("m"));
    assertThat(StatusProto.fromThrowable(second).getDetails(0).unpack(ErrorInfo.class).getReason())
        .isEqualTo("MODEL_EXISTS");
  }
}
