package io.tensorhold.server.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.StreamObserver;
import io.netty.buffer.AdaptiveByteBufAllocator;
import io.netty.util.ResourceLeakDetector;
import io.netty.util.ResourceLeakDetectorFactory;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.BlockRange;
import io.tensorhold.proto.v1.CatalogGrpc;
import io.tensorhold.proto.v1.Codec;
import io.tensorhold.proto.v1.CreateModelRequest;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OpenSessionRequest;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.PullHeader;
import io.tensorhold.proto.v1.PullRequest;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.wire.BlocksMethods;
import io.tensorhold.wire.ChannelSettings;
import io.tensorhold.wire.Crc32c;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.ShardHash;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Memory of payloads between socket and block: never torn, and all of it given back. */
class PayloadMemoryTest {
  private static final int BLOCKS = 8;
  private static final int BLOCK_BYTES = 1 << 20;
  private static final int SHARDS = 2;
  private static final Queue<String> LEAKS = new ConcurrentLinkedQueue<>();

  @TempDir Path directory;
  private final Arena arena = Arena.ofShared();
  private final BlockingQueue<PushResponse> answers = new LinkedBlockingQueue<>();
  private long allocatedBefore;
  private TensorholdServer server;
  private ManagedChannel channel;
  private Model model;
  private long session;
  private long seq;
  private StreamObserver<Frame<PushHeader>> pushes;

  /** Remembers what Netty's detector reports. */
  private static final class Detector<T> extends ResourceLeakDetector<T> {
    Detector(Class<?> type, int interval) {
      super(type, interval);
    }

    @Override
    protected boolean needReport() {
      return true;
    }

    @Override
    protected void reportTracedLeak(String type, String records) {
      LEAKS.add(type + records);
    }

    @Override
    protected void reportUntracedLeak(String type) {
      LEAKS.add(type);
    }
  }

  @BeforeAll
  @SuppressWarnings("deprecation") // the only method that a factory must have
  static void watchForLeaks() {
    ResourceLeakDetector.setLevel(ResourceLeakDetector.Level.PARANOID);
    ResourceLeakDetectorFactory.setResourceLeakDetectorFactory(
        new ResourceLeakDetectorFactory() {
          @Override
          public <T> ResourceLeakDetector<T> newResourceLeakDetector(
              Class<T> resource, int interval, long maxActive) {
            return new Detector<>(resource, interval);
          }
        });
  }

  @BeforeEach
  void start() throws Exception {
    allocatedBefore = OffHeap.allocated();
    int port = StockClientTest.freePort();
    String[] flags = {
      "--data-dir=" + directory,
      "--listen=127.0.0.1:" + port,
      "--raft.listen=127.0.0.1:" + StockClientTest.freePort(),
      "--shards=" + SHARDS,
      "--memory.budget=128MiB"
    };
    server = TensorholdServer.start(ConfigSource.read(flags, java.util.Map.of()));
    channel = ChannelSettings.client("127.0.0.1", port).build();
    ModelSpec.Builder spec =
        ModelSpec.newBuilder()
            .setName("m")
            .setDurability(Durability.CHECKPOINTED)
            .addParameters(
                ParameterSpec.newBuilder()
                    .setName("w")
                    .setDtype(DType.F32)
                    .addDims(BLOCKS * (long) BLOCK_BYTES / 4));
    CatalogGrpc.CatalogBlockingStub catalog = CatalogGrpc.newBlockingStub(channel);
    model = catalog.createModel(CreateModelRequest.newBuilder().setSpec(spec).build());
    session = catalog.openSession(OpenSessionRequest.getDefaultInstance()).getSession();
    pushes =
        ClientCalls.asyncBidiStreamingCall(
            channel.newCall(BlocksMethods.PUSH, CallOptions.DEFAULT),
            new StreamObserver<>() {
              @Override
              public void onNext(PushResponse answer) {
                answers.add(answer);
              }

              @Override
              public void onError(Throwable gone) {}

              @Override
              public void onCompleted() {}
            });
  }

  @AfterEach
  void everythingIsGivenBack() throws Exception {
    pushes.onCompleted();
    channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    server.close();
    arena.close();
    for (int i = 0; i < 3; i++) {
      System.gc();
      new AdaptiveByteBufAllocator(true).directBuffer(16).release();
    }
    assertThat(LEAKS).isEmpty();
    assertThat(OffHeap.allocated()).isEqualTo(allocatedBefore);
  }

  private long parameter() {
    return model.getSpec().getParameters(0).getId();
  }

  private MemorySegment filled(float value) {
    MemorySegment block = arena.allocate(BLOCK_BYTES);
    for (long i = 0; i < BLOCK_BYTES / 4; i++) {
      block.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
    }
    return block;
  }

  private PushResponse push(int block, MemorySegment values, int crc) throws Exception {
    PushHeader header =
        PushHeader.newBuilder()
            .setSession(session)
            .setSeq(++seq)
            .setAckedBelow(seq)
            .setModelId(model.getId())
            .setShard(ShardHash.shard(parameter(), block, SHARDS))
            .setOperation(Operation.ASSIGN)
            .setCatalogIndex(model.getCatalogIndex())
            .addBlocks(
                BlockHeader.newBuilder()
                    .setParameterId(parameter())
                    .setBlock(block)
                    .setCodec(Codec.CODEC_F32)
                    .setPayloadBytes(BLOCK_BYTES)
                    .setCrc32C(crc)
                    .setHasCrc(true))
            .build();
    try (Frame<PushHeader> frame = Frame.of(header, List.of(values), () -> {})) {
      pushes.onNext(frame);
    }
    return java.util.Objects.requireNonNull(answers.poll(30, TimeUnit.SECONDS));
  }

  private PullRequest everything() {
    return PullRequest.newBuilder()
        .setModelId(model.getId())
        .setCatalogIndex(model.getCatalogIndex())
        .addBlocks(BlockRange.newBuilder().setParameterId(parameter()).setCount(BLOCKS))
        .build();
  }

  /** Pulls every block, and shows that each is of one value. */
  private float[] pull() {
    float[] values = new float[BLOCKS];
    Iterator<Frame<PullHeader>> frames =
        ClientCalls.blockingServerStreamingCall(
            channel, BlocksMethods.PULL, CallOptions.DEFAULT, everything());
    while (frames.hasNext()) {
      try (Frame<PullHeader> frame = frames.next()) {
        MemorySegment payload = frame.payload();
        assertThat(frame.header().getBlocksList()).hasSize(1);
        float first = payload.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0);
        for (long at = 0; at < payload.byteSize(); at += 4) {
          if (payload.get(ValueLayout.JAVA_FLOAT_UNALIGNED, at) != first) {
            throw new AssertionError("block is torn at byte " + at);
          }
        }
        values[frame.header().getBlocks(0).getBlock()] = first;
      }
    }
    return values;
  }

  @Test
  void blocksAreNeverTornWhilePushesReplaceThem() throws Exception {
    CompletableFuture<Void> reader =
        CompletableFuture.runAsync(
            () -> {
              for (int round = 0; round < 25; round++) {
                pull();
              }
            });
    MemorySegment[] versions = {filled(1), filled(2), filled(3)};
    int[] crcs = new int[versions.length];
    for (int i = 0; i < versions.length; i++) {
      crcs[i] = Crc32c.of(versions[i]);
    }
    int round = 0;
    do {
      for (int block = 0; block < BLOCKS; block++) {
        int version = (round + block) % versions.length;
        assertThat(push(block, versions[version], crcs[version]).hasError()).isFalse();
      }
      round++;
    } while (!reader.isDone());
    reader.get(30, TimeUnit.SECONDS);
    float[] last = pull();
    for (int block = 0; block < BLOCKS; block++) {
      assertThat(last[block]).isEqualTo((round - 1 + block) % versions.length + 1f);
    }
  }

  @Test
  void refusedPayloadsChangeNothing() throws Exception {
    MemorySegment good = filled(4);
    assertThat(push(3, good, Crc32c.of(good)).hasError()).isFalse();
    MemorySegment bad = filled(5);
    assertThat(push(3, bad, Crc32c.of(bad) + 1).getError().getMessage()).contains("damaged");
    bad.setAtIndex(ValueLayout.JAVA_FLOAT, 200_001, Float.NaN);
    assertThat(push(3, bad, Crc32c.of(bad)).getError().getMessage())
        .contains("value 200001 of the payload");
    assertThat(pull()[3]).isEqualTo(4f);
    assertThat(push(3, good, Crc32c.of(good)).hasError()).isFalse();
  }

  @Test
  void pullThatIsGivenUpLetsGoOfItsBlocks() throws Exception {
    MemorySegment values = filled(6);
    for (int block = 0; block < BLOCKS; block++) {
      push(block, values, Crc32c.of(values));
    }
    for (int round = 0; round < 20; round++) {
      CompletableFuture<Void> ended = new CompletableFuture<>();
      ClientCalls.asyncServerStreamingCall(
          channel.newCall(BlocksMethods.PULL, CallOptions.DEFAULT),
          everything(),
          new ClientResponseObserver<PullRequest, Frame<PullHeader>>() {
            private ClientCallStreamObserver<PullRequest> call;

            @Override
            public void beforeStart(ClientCallStreamObserver<PullRequest> started) {
              call = started;
            }

            @Override
            public void onNext(Frame<PullHeader> frame) {
              frame.close();
              call.cancel("enough", null);
            }

            @Override
            public void onError(Throwable cancelled) {
              ended.complete(null);
            }

            @Override
            public void onCompleted() {
              ended.complete(null);
            }
          });
      ended.get(30, TimeUnit.SECONDS);
    }
    assertThat(pull()[0]).isEqualTo(6f);
  }
}
