package io.tensorhold.wire;

import static org.assertj.core.api.Assertions.assertThat;

import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import io.netty.buffer.AdaptiveByteBufAllocator;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelOption;
import io.netty.util.ResourceLeakDetector;
import io.netty.util.ResourceLeakDetectorFactory;
import io.tensorhold.proto.v1.BlocksGrpc;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Frames over sockets, with payloads passed through and copied; nothing leaks. */
class WireTest {
  private static final Queue<String> LEAKS = new ConcurrentLinkedQueue<>();

  /** Remembers what Netty's detector reports, for the tests to see. */
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

  /** A leak is reported when a buffer is allocated after the collector has found the lost one. */
  private static void findLeaks() {
    for (int i = 0; i < 3; i++) {
      System.gc();
      new AdaptiveByteBufAllocator(true).directBuffer(16).release();
    }
  }

  @AfterAll
  static void nothingLeaked() {
    findLeaks();
    assertThat(LEAKS).isEmpty();
  }

  private static ServerServiceDefinition echo() {
    return ServerServiceDefinition.builder(BlocksGrpc.SERVICE_NAME)
        .addMethod(BlocksMethods.PUSH_PULL, ServerCalls.asyncBidiStreamingCall(WireTest::echo))
        .build();
  }

  /** Sends each payload back from memory of its own. */
  @SuppressWarnings("MustBeClosedChecker") // the answer's release closes it
  private static StreamObserver<Frame<PushHeader>> echo(StreamObserver<Frame<PushPullHeader>> out) {
    return new StreamObserver<>() {
      @Override
      public void onNext(Frame<PushHeader> frame) {
        try (frame) {
          Arena arena = Arena.ofShared();
          MemorySegment copy = arena.allocate(Math.max(1, frame.payloadBytes()));
          copy = copy.asSlice(0, frame.payloadBytes());
          frame.read(copy);
          PushResponse ack = PushResponse.newBuilder().setSeq(frame.header().getSeq()).build();
          try (Frame<PushPullHeader> answer =
              Frame.of(
                  PushPullHeader.newBuilder().setAck(ack).build(), List.of(copy), arena::close)) {
            out.onNext(answer);
          }
        }
      }

      @Override
      public void onError(Throwable gone) {}

      @Override
      public void onCompleted() {
        out.onCompleted();
      }
    };
  }

  /** Receives copies of the payloads of an echo. */
  private static final class Received implements StreamObserver<Frame<PushPullHeader>> {
    private final BlockingQueue<byte[]> payloads = new LinkedBlockingQueue<>();

    @Override
    public void onNext(Frame<PushPullHeader> frame) {
      try (frame) {
        payloads.add(frame.payload().toArray(ValueLayout.JAVA_BYTE));
      }
    }

    @Override
    public void onError(Throwable gone) {}

    @Override
    public void onCompleted() {}

    byte[] next() throws InterruptedException {
      return java.util.Objects.requireNonNull(payloads.poll(30, TimeUnit.SECONDS));
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void whatIsSentArrivesWhateverItsSizeAndPieces(boolean passThrough) throws Exception {
    Random random = new Random(7);
    WireAllocator allocator = new WireAllocator(new AdaptiveByteBufAllocator(true), passThrough);
    Server server =
        ChannelSettings.server(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0))
            .withChildOption(ChannelOption.ALLOCATOR, allocator)
            .addService(echo())
            .build()
            .start();
    ManagedChannel channel =
        ChannelSettings.client("localhost", server.getPort())
            .withOption(ChannelOption.ALLOCATOR, allocator)
            .build();
    try (Arena arena = Arena.ofShared();
        Arena confined = Arena.ofConfined()) {
      Received received = new Received();
      StreamObserver<Frame<PushHeader>> out =
          ClientCalls.asyncBidiStreamingCall(
              channel.newCall(BlocksMethods.PUSH_PULL, CallOptions.DEFAULT), received);
      for (int round = 0; round < 60; round++) {
        List<MemorySegment> pieces = new ArrayList<>();
        long bytes = 0;
        for (int piece = random.nextInt(5); piece > 0; piece--) {
          int size = random.nextInt(round % 3 == 0 ? 1000 : 1 << 19);
          pieces.add(memory(random, size, arena, confined));
          bytes += size;
        }
        byte[] expected = together(pieces, bytes);
        AtomicInteger released = new AtomicInteger();
        try (Frame<PushHeader> frame =
            Frame.of(
                PushHeader.newBuilder().setSeq(round).build(), pieces, released::incrementAndGet)) {
          out.onNext(frame);
        }
        assertThat(received.next()).isEqualTo(expected);
        assertThat(released).hasValue(1);
      }
      out.onCompleted();
      if (passThrough) {
        // Should gRPC ask for its buffer in another way one day, this says so.
        assertThat(allocator.passed()).isGreaterThan(30);
      } else {
        assertThat(allocator.passed()).isZero();
      }
    } finally {
      channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
      server.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }
  }

  private static MemorySegment memory(Random random, int size, Arena shared, Arena confined) {
    byte[] bytes = new byte[size];
    random.nextBytes(bytes);
    MemorySegment memory =
        switch (random.nextInt(6)) {
          case 0 -> MemorySegment.ofArray(new byte[size]);
          case 1 -> confined.allocate(size);
          default -> shared.allocate(size);
        };
    memory.copyFrom(MemorySegment.ofArray(bytes));
    return memory;
  }

  private static byte[] together(List<MemorySegment> pieces, long bytes) {
    MemorySegment all = MemorySegment.ofArray(new byte[(int) bytes]);
    long at = 0;
    for (MemorySegment piece : pieces) {
      MemorySegment.copy(piece, 0, all, at, piece.byteSize());
      at += piece.byteSize();
    }
    return all.toArray(ValueLayout.JAVA_BYTE);
  }

  @Test
  void largePiecesArePassedThroughAndHeldUntilNettyLetsGo() throws Exception {
    AtomicInteger released = new AtomicInteger();
    WireAllocator allocator = new WireAllocator(new AdaptiveByteBufAllocator(true), true);
    try (Arena arena = Arena.ofShared()) {
      MemorySegment piece = arena.allocate(1 << 20);
      Frame<PushHeader> frame =
          Frame.of(
              PushHeader.newBuilder().setSeq(1).build(), List.of(piece), released::incrementAndGet);
      FrameStream stream = new FrameStream(frame);
      int size = stream.available();
      ByteBuf buffer = allocator.buffer(size, size);
      buffer.writeBytes(new byte[WireAllocator.GRPC_PREFIX_BYTES]);
      stream.drainTo(new io.netty.buffer.ByteBufOutputStream(buffer));
      stream.close();
      frame.close();
      assertThat(buffer.readableBytes()).isEqualTo(WireAllocator.GRPC_PREFIX_BYTES + size);
      piece.set(ValueLayout.JAVA_BYTE, 77, (byte) 5);
      assertThat(buffer.getByte(buffer.readableBytes() - (1 << 20) + 77)).isEqualTo((byte) 5);
      assertThat(released).hasValue(0);
      buffer.release();
      assertThat(released).hasValue(1);
    }
  }

  @Test
  void bufferThatAnotherAskedForIsLeftAlone() throws Exception {
    WireAllocator allocator = new WireAllocator(new AdaptiveByteBufAllocator(true), true);
    try (Arena arena = Arena.ofShared()) {
      Frame<PushHeader> frame =
          Frame.of(PushHeader.getDefaultInstance(), List.of(arena.allocate(1 << 20)), () -> {});
      FrameStream stream = new FrameStream(frame);
      assertThat(stream.available()).isGreaterThan(1 << 20);
      stream.close();
      ByteBuf other = allocator.buffer(100, 100);
      assertThat(other.writableBytes()).isEqualTo(100);
      other.release();
    }
  }

  @Test
  void readBufferGrowsAndItsMemoryIsUsedAgain() {
    ReadBuffers reads = new ReadBuffers();
    AdaptiveByteBufAllocator elsewhere = new AdaptiveByteBufAllocator(true);
    ByteBuf first = reads.take(elsewhere, 40_000, 100_000);
    assertThat(first).isNotNull();
    first.writeZero(90_000);
    assertThat(first.readableBytes()).isEqualTo(90_000);
    List<ByteBuf> all = new ArrayList<>(List.of(first));
    for (ByteBuf next = reads.take(elsewhere, 9, 9); next != null; ) {
      all.add(next);
      next = reads.take(elsewhere, 9, 9);
    }
    assertThat(all).hasSize(256);
    all.forEach(ByteBuf::release);
    ByteBuf again = reads.take(elsewhere, 64 << 10, 64 << 10);
    assertThat(again).isNotNull();
    again.release();
  }

  @Test
  void lostFrameWouldBeFound() {
    lose();
    // The collector hands what it found to a thread of its own, which a loaded machine lets wait.
    long ends = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (LEAKS.isEmpty() && System.nanoTime() < ends) {
      findLeaks();
    }
    assertThat(LEAKS).isNotEmpty();
    LEAKS.clear();
  }

  private static void lose() {
    new WireAllocator(new AdaptiveByteBufAllocator(true), true).directBuffer(64 << 10);
  }
}
