package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.stub.StreamObserver;
import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.PullRowsRequest;
import io.tensorhold.proto.v1.PullRowsResponse;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.proto.v1.PushRowsRequest;
import io.tensorhold.proto.v1.ReplicaStatus;
import io.tensorhold.proto.v1.RowsGrpc;
import io.tensorhold.proto.v1.ShardRows;
import io.tensorhold.wire.ChannelSettings;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a stock client sends wrong about rows: a precise error, and nothing is changed. */
class RowsBadInputTest {
  private static final int DIM = 8;

  @TempDir private Path folder;
  private LocalServer server;
  private TensorholdClient client;
  private Session session;
  private ManagedChannel channel;
  private Table table;
  private long seq = 100;

  @BeforeEach
  void start() throws Exception {
    server = new LocalServer(folder, "64MiB", "1MiB", 1);
    client = server.connect();
    session = client.openSession("bad input");
    int colon = server.address().indexOf(':');
    channel =
        ChannelSettings.client("127.0.0.1", Integer.parseInt(server.address().substring(colon + 1)))
            .build();
    table = client.create(RowsTest.spec("m", Durability.LOGGED).build()).table("rows");
    session.pushRows(table, Operation.ASSIGN, new long[] {1, 2, 3}, new float[3 * DIM]).join();
  }

  @AfterEach
  void stop() {
    channel.shutdownNow();
    client.close();
    server.close();
  }

  private static ByteString values(int count, float value) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < count; i++) {
      bytes.putFloat(value);
    }
    return ByteString.copyFrom(bytes.flip());
  }

  private PushRowsHeader.Builder header(long... keys) {
    PushRowsHeader.Builder header =
        PushRowsHeader.newBuilder()
            .setSession(session.id())
            .setSeq(seq++)
            .setModelId(table.model().id())
            .setTableId(table.id())
            .setOperation(Operation.ADD)
            .setCodecValue(Codec.F32.id());
    for (long key : keys) {
      header.addKeys(key);
    }
    return header;
  }

  private static <T> T last(Consumer<StreamObserver<T>> call) {
    CompletableFuture<T> answer = new CompletableFuture<>();
    call.accept(
        new StreamObserver<>() {
          @Override
          public void onNext(T value) {
            answer.complete(value);
          }

          @Override
          public void onError(Throwable error) {
            answer.completeExceptionally(error);
          }

          @Override
          public void onCompleted() {
            answer.completeExceptionally(new IllegalStateException("no answer"));
          }
        });
    return answer.join();
  }

  private PushResponse send(PushRowsHeader header, ByteString values) {
    return send(channel, header, values);
  }

  private static PushResponse send(ManagedChannel to, PushRowsHeader header, ByteString values) {
    return RowsBadInputTest.<PushResponse>last(
        answers -> {
          StreamObserver<PushRowsRequest> out = RowsGrpc.newStub(to).pushRows(answers);
          out.onNext(PushRowsRequest.newBuilder().setHeader(header).setValues(values).build());
          out.onCompleted();
        });
  }

  private void refused(
      PushRowsHeader.Builder header, ByteString values, String reason, String... texts) {
    PushResponse answer = send(header.build(), values);
    assertThat(answer.hasError()).as(reason).isTrue();
    TensorholdException error = TensorholdException.of(answer.getError());
    assertThat(error.reason()).isEqualTo(reason);
    assertThat(error.getMessage()).contains(texts);
  }

  private long checksum() {
    return client.status(true).values().stream()
        .flatMap(s -> s.getReplicasList().stream())
        .mapToLong(ReplicaStatus::getChecksum)
        .sum();
  }

  @Test
  void badPushesAreNamedAndChangeNothing() {
    long before = checksum();
    refused(header(5, 5), values(2 * DIM, 1), "KEYS_INVALID", "comes twice", "value=5");
    refused(header(6, 5), values(2 * DIM, 1), "KEYS_INVALID", "out of order", "value=5 after 6");
    refused(header(5), values(DIM - 1, 1), "PAYLOAD_LENGTH", "value=28", "32 bytes");
    refused(header(), values(0, 1), "REQUEST_INVALID", "at least one row");
    refused(header(5), values(DIM, Float.NaN), "NONFINITE", "key 5");
    refused(header(5).setShard(3), values(DIM, 1), "REQUEST_INVALID", "shard: value=3");
    refused(header(5).setTableId(99), values(DIM, 1), "PARAMETER_UNKNOWN", "99");
    refused(
        header(5).setCodecValue(Codec.TOPK.id()), values(DIM, 1), "CODEC_INVALID", "topk", "f32");
    refused(header(5).setOperationValue(9), values(DIM, 1), "REQUEST_INVALID", "value=9");
    refused(header(5).setSeq(0), values(DIM, 1), "REQUEST_INVALID", "seq");
    refused(header(5).setCrc32C(1), values(DIM, 1), "CHECKSUM", "00000001");
    refused(header(5).setExpectTerm(1), values(DIM, 1), "REQUEST_INVALID", "expect_term");
    refused(header(5).setSession(1L << 40), values(DIM, 1), "SESSION_UNKNOWN", "open one");
    long[] many = new long[(1 << 16) + 1];
    for (int i = 0; i < many.length; i++) {
      many[i] = i;
    }
    refused(header(many), values(DIM, 1), "LIMIT", "limit=65536");
    assertThat(checksum()).isEqualTo(before);
    PushResponse good = send(header(5).build(), values(DIM, 1));
    assertThat(good.hasError()).isFalse();
    assertThat(checksum()).isNotEqualTo(before);
  }

  @Test
  void aKeyOfAnotherShardIsRefused() throws Exception {
    try (LocalServer two = new LocalServer(folder.resolve("two"), "64MiB", "1MiB", 2);
        TensorholdClient other = two.connect();
        Session ofOther = other.openSession("bad input")) {
      Table rows = other.create(RowsTest.spec("m", Durability.LOGGED).build()).table("rows");
      PushRowsHeader.Builder header =
          PushRowsHeader.newBuilder().setOperation(Operation.ADD).setCodecValue(Codec.F32.id());
      for (long key = 0; key < 64; key++) {
        header.addKeys(key);
      }
      header.setSession(ofOther.id()).setSeq(1).setModelId(rows.model().id()).setTableId(rows.id());
      ManagedChannel direct =
          ChannelSettings.client("127.0.0.1", Integer.parseInt(two.address().split(":", -1)[1]))
              .build();
      PushResponse answer = send(direct, header.build(), values(64 * DIM, 1));
      direct.shutdownNow();
      assertThat(TensorholdException.of(answer.getError()))
          .hasMessageMatching("key \\d+ of rows lies on shard 1: value=0");
    }
  }

  @Test
  void badPullsAreNamedAndTheStreamGoesOn() {
    PullRowsRequest good =
        PullRowsRequest.newBuilder()
            .setModelId(table.model().id())
            .setTableId(table.id())
            .addShards(ShardRows.newBuilder().setCount(2))
            .addKeys(1)
            .addKeys(2)
            .build();
    List<UnaryOperator<PullRowsRequest.Builder>> wrong =
        List.of(
            request -> request.setKeys(1, 1),
            request -> request.setKeys(1, 0),
            request -> request.addKeys(3),
            request -> request.setShards(0, ShardRows.newBuilder().setCount(3)),
            request -> request.setCodecValue(Codec.RAW.id()),
            request -> request.setTableId(99));
    List<String> reasons =
        List.of(
            "KEYS_INVALID",
            "KEYS_INVALID",
            "REQUEST_INVALID",
            "REQUEST_INVALID",
            "CODEC_INVALID",
            "PARAMETER_UNKNOWN");
    List<PullRowsResponse> answers = new java.util.concurrent.CopyOnWriteArrayList<>();
    CompletableFuture<Void> over = new CompletableFuture<>();
    StreamObserver<PullRowsRequest> out =
        RowsGrpc.newStub(channel)
            .pullRows(
                new StreamObserver<>() {
                  @Override
                  public void onNext(PullRowsResponse answer) {
                    answers.add(answer);
                  }

                  @Override
                  public void onError(Throwable error) {
                    over.completeExceptionally(error);
                  }

                  @Override
                  public void onCompleted() {
                    over.complete(null);
                  }
                });
    for (int i = 0; i < wrong.size(); i++) {
      out.onNext(wrong.get(i).apply(good.toBuilder()).setId(i).build());
    }
    out.onNext(good.toBuilder().setId(wrong.size()).build());
    out.onCompleted();
    over.join();
    assertThat(answers).hasSize(wrong.size() + 1);
    for (PullRowsResponse answer : answers) {
      int id = (int) answer.getHeader().getId();
      if (id == wrong.size()) {
        assertThat(answer.getValues().size()).isEqualTo(2 * DIM * 4);
      } else {
        assertThat(TensorholdException.of(answer.getHeader().getError()).reason())
            .isEqualTo(reasons.get(id));
      }
    }
  }

  @Test
  void tablesThatCanNotBeAreRefused() {
    refusedModel(spec -> table(spec).setDim(0), "SHAPE_INVALID", "value=0 allowed=1..16384");
    refusedModel(spec -> table(spec).setDim(20_000), "SHAPE_INVALID", "value=20000");
    refusedModel(
        spec -> table(spec).getInitializerBuilder().setKind("gauss"), "REQUEST_INVALID", "gauss");
    refusedModel(
        spec -> table(spec).getInitializerBuilder().putHyper("std", -1),
        "REQUEST_INVALID",
        "std",
        "-1.0");
    refusedModel(
        spec -> spec.getParametersBuilder(0).setDtype(DType.I64),
        "SHAPE_INVALID",
        "F32, F16, BF16");
    refusedModel(spec -> spec.getParametersBuilder(0).addDims(5), "SHAPE_INVALID", "[5]");
    refusedModel(
        spec -> spec.setConsistency(Consistency.BSP).setWorkers(2), "REQUEST_INVALID", "ASP");
    refusedModel(spec -> spec.getOptimizerBuilder().setClipNorm(1), "OPTIMIZER_INVALID", "clip");
    assertThatThrownBy(
            () -> {
              ModelSpec.Builder spec = RowsTest.spec("m", Durability.LOGGED);
              table(spec).getInitializerBuilder().setKind("zeros");
              client.create(spec.build());
            })
        .isInstanceOf(TensorholdException.class)
        .hasMessageContaining("normal")
        .hasMessageContaining("asked for dim 8, zeros");
    assertThatThrownBy(() -> client.pullRows(table, new long[2], new float[DIM]).join())
        .hasMessageContaining("value=8");
    assertThatThrownBy(
            () -> session.pushRows(table, Operation.ADD, new long[2], new float[DIM]).join())
        .hasMessageContaining("value=8");
  }

  private static io.tensorhold.proto.v1.TableSpec.Builder table(ModelSpec.Builder spec) {
    return spec.getParametersBuilder(0).getTableBuilder();
  }

  private void refusedModel(Consumer<ModelSpec.Builder> change, String reason, String... texts) {
    ModelSpec.Builder spec = RowsTest.spec("other", Durability.LOGGED);
    change.accept(spec);
    assertThatThrownBy(() -> client.create(spec.build()))
        .isInstanceOfSatisfying(
            TensorholdException.class,
            e -> {
              assertThat(e.reason()).isEqualTo(reason);
              assertThat(e.getMessage()).contains(texts);
            });
  }
}
