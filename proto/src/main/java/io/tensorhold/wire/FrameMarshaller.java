package io.tensorhold.wire;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import com.google.protobuf.WireFormat;
import io.grpc.KnownLength;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * Reads and writes messages whose field 1 is a header message and whose field 15 is the payload:
 * the same bytes as the generated classes, without a copy of the payload through protobuf's
 * objects.
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

  @Override
  public InputStream stream(Frame<H> frame) {
    return new FrameStream(frame);
  }

  @Override
  public Frame<H> parse(InputStream stream) {
    try {
      return read(CodedInputStream.newInstance(stream), length(stream));
    } catch (IOException e) {
      throw Status.INVALID_ARGUMENT
          .withDescription("a message can't be read: " + e.getMessage())
          .withCause(e)
          .asRuntimeException();
    }
  }

  private static int length(InputStream stream) throws IOException {
    return stream instanceof KnownLength ? stream.available() : Integer.MAX_VALUE;
  }

  private Frame<H> read(CodedInputStream in, int length) throws IOException {
    in.setSizeLimit(Integer.MAX_VALUE);
    Message.Builder header = null;
    byte[] payload = new byte[0];
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      if (tag == tag(HEADER_FIELD)) {
        H part =
            in.readMessage(parser, com.google.protobuf.ExtensionRegistryLite.getEmptyRegistry());
        if (header == null) {
          header = part.toBuilder();
        } else {
          header.mergeFrom(part);
        }
      } else if (tag == tag(PAYLOAD_FIELD)) {
        int bytes = in.readRawVarint32();
        if (bytes < 0 || bytes > length) {
          throw new InvalidProtocolBufferException(
              "a payload says %d bytes in a message of %d"
                  .formatted(Integer.toUnsignedLong(bytes), length));
        }
        payload = in.readRawBytes(bytes);
      } else if (!in.skipField(tag)) {
        throw new InvalidProtocolBufferException("a group ends that did not begin");
      }
    }
    @SuppressWarnings("unchecked")
    H complete = header == null ? empty : (H) header.build();
    return Frame.of(complete, List.of(MemorySegment.ofArray(payload)), () -> {});
  }

  static int tag(int field) {
    return (field << 3) | WireFormat.WIRETYPE_LENGTH_DELIMITED;
  }
}
