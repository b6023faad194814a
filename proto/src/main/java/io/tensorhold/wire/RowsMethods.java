package io.tensorhold.wire;

import io.grpc.MethodDescriptor;
import io.tensorhold.proto.v1.PullRowsHeader;
import io.tensorhold.proto.v1.PullRowsRequest;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.proto.v1.RowsGrpc;
import io.tensorhold.proto.v1.ScanRowsHeader;
import io.tensorhold.proto.v1.ScanRowsRequest;

/** The methods of {@code tensorhold.v1.Rows}, with frames in place of generated messages. */
public final class RowsMethods {
  /** PullRows: keys in, rows out. */
  public static final MethodDescriptor<PullRowsRequest, Frame<PullRowsHeader>> PULL_ROWS =
      RowsGrpc.getPullRowsMethod().toBuilder(
              RowsGrpc.getPullRowsMethod().getRequestMarshaller(),
              new FrameMarshaller<>(PullRowsHeader.getDefaultInstance()))
          .build();

  /** PushRows: keys and rows in, acknowledgements out. */
  public static final MethodDescriptor<Frame<PushRowsHeader>, PushResponse> PUSH_ROWS =
      RowsGrpc.getPushRowsMethod().toBuilder(
              new FrameMarshaller<>(PushRowsHeader.getDefaultInstance()),
              RowsGrpc.getPushRowsMethod().getResponseMarshaller())
          .build();

  /** ScanRows: a table in, its rows out. */
  public static final MethodDescriptor<ScanRowsRequest, Frame<ScanRowsHeader>> SCAN_ROWS =
      RowsGrpc.getScanRowsMethod().toBuilder(
              RowsGrpc.getScanRowsMethod().getRequestMarshaller(),
              new FrameMarshaller<>(ScanRowsHeader.getDefaultInstance()))
          .build();

  private RowsMethods() {}
}
