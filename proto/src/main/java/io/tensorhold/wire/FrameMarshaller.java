package io.tensorhold.wire;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import com.google.protobuf.WireFormat;
import io.grpc.KnownLength;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import org.jspecify.annotations.Nullable;

/**
 * Reads and writes messages whose field 1 is a header message and whose field 15 is the payload:
 * the same bytes as the generated classes, without a copy of the payload through protobuf's
 * objects. A payload that ends its message, as all that we write do, stays in the transport's
 * buffers until it is read.
 */
final class FrameMarshaller<H extends Message> implements MethodDescriptor.Marshaller<Frame<H>> {
  static final int HEADER_FIELD = 1;
  static final int PAYLOAD_FIELD = 15;

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
    private @Nullable PayloadSource payload;

    Reading(FrameMarshaller<H> marshaller, InputStream in) {
      this.marshaller = marshaller;
      this.in = in;
    }

    Frame<H> frame() throws IOException {
      for (int first = in.read(); first >= 0; first = in.read()) {
        int tag = (int) varint(first);
        if (tag == tag(HEADER_FIELD)) {
          readHeader();
        } else if (tag == tag(PAYLOAD_FIELD)) {
          int bytes = length();
          if (in instanceof KnownLength && bytes == in.available()) {
            payload = new PayloadSource(in, bytes);
            break;
          }
          payload = new PayloadSource(new ByteArrayInputStream(exactly(bytes)), bytes);
        } else {
          skip(tag);
        }
      }
      @SuppressWarnings("unchecked")
      H complete = header == null ? marshaller.empty : (H) header.build();
      return Frame.received(complete, payload);
    }

    private byte[] exactly(int count) throws IOException {
      byte[] bytes = in.readNBytes(count);
      if (bytes.length < count) {
        throw new EOFException("the message is cut short");
      }
      return bytes;
    }

    private void readHeader() throws IOException {
      H part = marshaller.parser.parseFrom(exactly(length()));
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
  }
}
