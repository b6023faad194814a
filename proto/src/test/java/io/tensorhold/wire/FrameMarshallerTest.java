package io.tensorhold.wire;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.protobuf.ByteString;
import com.google.protobuf.CodedOutputStream;
import io.grpc.Drainable;
import io.grpc.MethodDescriptor.Marshaller;
import io.grpc.StatusRuntimeException;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushRequest;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

/** Our marshallers against the generated classes: the same bytes, both ways. */
class FrameMarshallerTest {
  private static final Marshaller<Frame<PushHeader>> MARSHALLER =
      new FrameMarshaller<>(PushHeader.getDefaultInstance());

  private static PushHeader header(Random random) {
    PushHeader.Builder header =
        PushHeader.newBuilder().setSession(random.nextLong()).setSeq(random.nextInt(9));
    for (int i = random.nextInt(4); i > 0; i--) {
      header.addBlocks(BlockHeader.newBuilder().setBlock(random.nextInt(5)).addRuns(i));
    }
    return header.build();
  }

  private static byte[] bytes(Random random, int count) {
    byte[] bytes = new byte[count];
    random.nextBytes(bytes);
    return bytes;
  }

  private static Frame<PushHeader> frame(PushHeader header, byte[] payload, Random random) {
    List<MemorySegment> pieces = new ArrayList<>();
    int at = 0;
    while (at < payload.length) {
      int count = 1 + random.nextInt(payload.length - at);
      pieces.add(MemorySegment.ofArray(payload).asSlice(at, count));
      at += count;
    }
    return Frame.of(header, pieces, () -> {});
  }

  @Property(tries = 300)
  void writesWhatStockProtobufReads(@ForAll long seed, @ForAll @IntRange(max = 100_000) int size)
      throws IOException {
    Random random = new Random(seed);
    PushHeader header = header(random);
    byte[] payload = bytes(random, size);
    PushRequest stock =
        PushRequest.newBuilder().setHeader(header).setPayload(ByteString.copyFrom(payload)).build();
    ByteArrayOutputStream drained = new ByteArrayOutputStream();
    InputStream stream = MARSHALLER.stream(frame(header, payload, random));
    assertThat(stream.available()).isEqualTo(drainedSize(stream, drained));
    assertThat(PushRequest.parseFrom(drained.toByteArray())).isEqualTo(stock);
    byte[] read = MARSHALLER.stream(frame(header, payload, random)).readAllBytes();
    assertThat(read).isEqualTo(drained.toByteArray());
  }

  private static int drainedSize(InputStream stream, ByteArrayOutputStream target)
      throws IOException {
    int available = stream.available();
    assertThat(((Drainable) stream).drainTo(target)).isEqualTo(available);
    return available;
  }

  @Property(tries = 300)
  void readsWhatStockProtobufWrites(@ForAll long seed, @ForAll @IntRange(max = 100_000) int size) {
    Random random = new Random(seed);
    PushRequest stock =
        PushRequest.newBuilder()
            .setHeader(header(random))
            .setPayload(ByteString.copyFrom(bytes(random, size)))
            .build();
    Frame<PushHeader> frame = MARSHALLER.parse(new ByteArrayInputStream(stock.toByteArray()));
    assertThat(frame.header()).isEqualTo(stock.getHeader());
    assertThat(frame.payload().toArray(ValueLayout.JAVA_BYTE))
        .isEqualTo(stock.getPayload().toByteArray());
  }

  @Test
  void fieldsInAnyOrderRepeatedOrUnknownAreReadAsProtobufReadsThem() throws IOException {
    PushHeader first = PushHeader.newBuilder().setSession(1).setSeq(2).build();
    PushHeader second = PushHeader.newBuilder().setSeq(3).build();
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    CodedOutputStream out = CodedOutputStream.newInstance(bytes);
    out.writeByteArray(15, new byte[] {1});
    out.writeString(9, "unknown");
    out.writeMessage(1, first);
    out.writeByteArray(15, new byte[] {2, 3});
    out.writeMessage(1, second);
    out.flush();
    PushRequest stock = PushRequest.parseFrom(bytes.toByteArray());
    Frame<PushHeader> frame = MARSHALLER.parse(new ByteArrayInputStream(bytes.toByteArray()));
    assertThat(frame.header()).isEqualTo(stock.getHeader());
    assertThat(frame.payload().toArray(ValueLayout.JAVA_BYTE))
        .isEqualTo(stock.getPayload().toByteArray());
  }

  @Property(tries = 300)
  void damagedMessagesAreRefusedNeverWorse(@ForAll long seed) {
    Random random = new Random(seed);
    byte[] bytes =
        PushRequest.newBuilder()
            .setHeader(header(random))
            .setPayload(ByteString.copyFrom(bytes(random, 50)))
            .build()
            .toByteArray();
    for (int i = 0; i < 3; i++) {
      bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
    }
    try (Frame<PushHeader> frame = MARSHALLER.parse(new ByteArrayInputStream(bytes))) {
      assertThat(frame.payloadBytes()).isLessThanOrEqualTo(bytes.length);
    } catch (StatusRuntimeException e) {
      assertThat(e.getStatus().getCode().name()).isEqualTo("INVALID_ARGUMENT");
    }
  }

  @Test
  void payloadThatIsLongerThanTheMessageIsRefused() {
    byte[] lie = {(15 << 3) | 2, (byte) 0xff, (byte) 0xff, (byte) 0xff, (byte) 0xff, 0x07, 1};
    assertThatThrownBy(() -> MARSHALLER.parse(new ByteArrayInputStream(lie)))
        .isInstanceOf(StatusRuntimeException.class);
  }

  @Test
  void releaseRunsOnce() throws IOException {
    AtomicInteger released = new AtomicInteger();
    Frame<PushHeader> frame =
        Frame.of(
            PushHeader.getDefaultInstance(),
            List.of(MemorySegment.ofArray(new byte[10])),
            released::incrementAndGet);
    InputStream stream = MARSHALLER.stream(frame);
    ((Drainable) stream).drainTo(new ByteArrayOutputStream());
    stream.close();
    frame.close();
    assertThat(released).hasValue(1);
  }

  @Test
  void shardsAreWhatTheFormatSays() {
    assertThat(ShardHash.shard(1, 0, 8)).isEqualTo(GOLDEN[0]);
    assertThat(ShardHash.shard(1, 1, 8)).isEqualTo(GOLDEN[1]);
    assertThat(ShardHash.shard(77, 3, 8)).isEqualTo(GOLDEN[2]);
    assertThat(ShardHash.shard(-1, 0, 256)).isEqualTo(GOLDEN[3]);
    int[] counts = new int[8];
    for (int block = 0; block < 8000; block++) {
      counts[ShardHash.shard(5, block, 8)]++;
    }
    for (int count : counts) {
      assertThat(count).isBetween(850, 1150);
    }
  }

  /** Computed with arbitrary-precision integers from the formula in docs/formats.md. */
  private static final int[] GOLDEN = {4, 4, 2, 235};
}
