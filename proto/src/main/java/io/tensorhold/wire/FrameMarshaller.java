package io.tensorhold.wire;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import com.google.protobuf.WireFormat;
import io.grpc.HasByteBuffer;
import io.grpc.KnownLength;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.tensorhold.wire.PayloadPool.Lease;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Reads and writes messages whose field 1 is a header message and whose field 15 is the payload:
 * the same bytes as the generated classes, without a copy of the payload through protobuf's
 * objects.
 */
final class FrameMarshaller<H extends Message> implements MethodDescriptor.Marshaller<Frame<H>> {
  static final int HEADER_FIELD = 1;
  static final int PAYLOAD_FIELD = 15;
  private static final int SCRATCH_BYTES = 16 << 10;

  private final Parser<H> parser;
  private final H empty;

  @SuppressWarnings("unchecked")
  FrameMarshaller(H empty) {
    this.empty = empty;
    this.parser = (Parser<H>) empty.getParserForType();
  }

  static int tag(int field) {
    return (field << 3) | WireFormat.WIRETYPE_LENGTH_DELIMITED;
  }

  @Override
  public InputStream stream(Frame<H> frame) {
    return new FrameStream(frame);
  }

  @Override
  public Frame<H> parse(InputStream stream) {
    Reading<H> reading = new Reading<>(this, stream);
    try {
      return reading.frame();
    } catch (IOException e) {
      reading.giveBack();
      throw Status.INVALID_ARGUMENT
          .withDescription("a message can't be read: " + e.getMessage())
          .withCause(e)
          .asRuntimeException();
    }
  }

  /** One message on its way in. */
  private static final class Reading<H extends Message> {
    private final FrameMarshaller<H> marshaller;
    private final InputStream in;
    private Message.@Nullable Builder header;
    private @Nullable Lease payload;

    Reading(FrameMarshaller<H> marshaller, InputStream in) {
      this.marshaller = marshaller;
      this.in = in;
    }

    void giveBack() {
      if (payload != null) {
        payload.giveBack().run();
        payload = null;
      }
    }

    Frame<H> frame() throws IOException {
      for (int first = in.read(); first >= 0; first = in.read()) {
        int tag = (int) varint(first);
        if (tag == tag(HEADER_FIELD)) {
          readHeader();
        } else if (tag == tag(PAYLOAD_FIELD)) {
          giveBack();
          Lease lease = PayloadPool.take(length());
          payload = lease;
          copy(lease.memory());
        } else {
          skip(tag);
        }
      }
      @SuppressWarnings("unchecked")
      H complete = header == null ? marshaller.empty : (H) header.build();
      Lease lease = payload;
      return lease == null
          ? Frame.of(complete, List.of(), () -> {})
          : Frame.of(complete, List.of(lease.memory()), lease.giveBack());
    }

    private void readHeader() throws IOException {
      byte[] bytes = in.readNBytes(length());
      H part = marshaller.parser.parseFrom(bytes);
      if (header == null) {
        header = part.toBuilder();
      } else {
        header.mergeFrom(part);
      }
    }

    /** A length that the rest of the message can hold. */
    private int length() throws IOException {
      long length = varint(next());
      long left = in instanceof KnownLength ? in.available() : ChannelSettings.MAX_MESSAGE_BYTES;
      if (length < 0 || length > left) {
        throw new InvalidProtocolBufferException(
            "a field says %s bytes where %d are left"
                .formatted(Long.toUnsignedString(length), left));
      }
      return (int) length;
    }

    private int next() throws IOException {
      int value = in.read();
      if (value < 0) {
        throw new EOFException("the message is cut short");
      }
      return value;
    }

    private long varint(int first) throws IOException {
      long value = first & 0x7f;
      int at = first;
      for (int shift = 7; (at & 0x80) != 0; shift += 7) {
        if (shift >= 70) {
          throw new InvalidProtocolBufferException("a number has more than ten bytes");
        }
        at = next();
        value |= (at & 0x7fL) << shift;
      }
      return value;
    }

    private void skip(int tag) throws IOException {
      long bytes =
          switch (tag & 7) {
            case WireFormat.WIRETYPE_VARINT -> {
              varint(next());
              yield 0;
            }
            case WireFormat.WIRETYPE_FIXED64 -> 8;
            case WireFormat.WIRETYPE_FIXED32 -> 4;
            case WireFormat.WIRETYPE_LENGTH_DELIMITED -> length();
            default ->
                throw new InvalidProtocolBufferException(
                    "field type: value=%d allowed=0, 1, 2, 5".formatted(tag & 7));
          };
      in.skipNBytes(bytes);
    }

    /** Fills the memory, from the transport's own buffers where it shows them. */
    private void copy(MemorySegment target) throws IOException {
      long at = 0;
      long size = target.byteSize();
      if (in instanceof HasByteBuffer buffers && buffers.byteBufferSupported()) {
        while (at < size) {
          ByteBuffer buffer = buffers.getByteBuffer();
          if (buffer == null || !buffer.hasRemaining()) {
            break;
          }
          long count = Math.min(buffer.remaining(), size - at);
          MemorySegment.copy(MemorySegment.ofBuffer(buffer), 0, target, at, count);
          in.skipNBytes(count);
          at += count;
        }
      }
      byte[] scratch = at < size ? new byte[SCRATCH_BYTES] : new byte[0];
      while (at < size) {
        int count = in.read(scratch, 0, (int) Math.min(scratch.length, size - at));
        if (count < 0) {
          throw new EOFException("the message is cut short");
        }
        MemorySegment.copy(scratch, 0, target, ValueLayout.JAVA_BYTE, at, count);
        at += count;
      }
    }
  }
}
