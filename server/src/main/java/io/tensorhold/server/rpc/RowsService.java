package io.tensorhold.server.rpc;

import io.grpc.BindableService;
import io.grpc.ServerServiceDefinition;
import io.grpc.ServiceDescriptor;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.PullRowsHeader;
import io.tensorhold.proto.v1.PullRowsRequest;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.PushRowsHeader;
import io.tensorhold.proto.v1.RowsGrpc;
import io.tensorhold.proto.v1.ScanRowsHeader;
import io.tensorhold.proto.v1.ScanRowsRequest;
import io.tensorhold.server.admin.Traffic;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.training.Trainer;
import io.tensorhold.wire.Frame;
import io.tensorhold.wire.RowsMethods;
import java.util.concurrent.Executor;
import java.util.concurrent.Semaphore;
import java.util.function.BooleanSupplier;

/** The Rows service over our own marshallers. */
final class RowsService implements BindableService {
  private final ClusterNode node;
  private final Trainer trainer;
  private final RowRequests requests;
  private final Errors errors;
  private final Traffic traffic;
  private final BooleanSupplier diskFull;
  private final Executor executor;
  private final Semaphore scans = new Semaphore(Limits.SCANS);

  RowsService(
      ClusterNode node,
      Trainer trainer,
      Errors errors,
      Traffic traffic,
      BooleanSupplier diskFull,
      Executor executor) {
    this.node = node;
    this.trainer = trainer;
    this.requests = new RowRequests(new BlockRequests(node.catalog(), node.shardCount()));
    this.errors = errors;
    this.traffic = traffic;
    this.diskFull = diskFull;
    this.executor = executor;
  }

  @Override
  public ServerServiceDefinition bindService() {
    ServiceDescriptor generated = RowsGrpc.getServiceDescriptor();
    ServiceDescriptor.Builder ours =
        ServiceDescriptor.newBuilder(generated.getName())
            .setSchemaDescriptor(generated.getSchemaDescriptor())
            .addMethod(RowsMethods.PULL_ROWS)
            .addMethod(RowsMethods.PUSH_ROWS)
            .addMethod(RowsMethods.SCAN_ROWS);
    return ServerServiceDefinition.builder(ours.build())
        .addMethod(RowsMethods.PULL_ROWS, ServerCalls.asyncBidiStreamingCall(this::pull))
        .addMethod(RowsMethods.PUSH_ROWS, ServerCalls.asyncBidiStreamingCall(this::push))
        .addMethod(RowsMethods.SCAN_ROWS, ServerCalls.asyncServerStreamingCall(this::scan))
        .build();
  }

  private StreamObserver<PullRowsRequest> pull(StreamObserver<Frame<PullRowsHeader>> out) {
    RowPullStream stream =
        new RowPullStream(
            node,
            requests,
            errors,
            traffic,
            executor,
            (ServerCallStreamObserver<Frame<PullRowsHeader>>) out);
    stream.readOn();
    return stream;
  }

  private void scan(ScanRowsRequest request, StreamObserver<Frame<ScanRowsHeader>> to) {
    ServerCallStreamObserver<Frame<ScanRowsHeader>> out =
        (ServerCallStreamObserver<Frame<ScanRowsHeader>>) to;
    boolean room = scans.tryAcquire();
    try {
      if (!room) {
        throw RowScanStream.tooMany();
      }
      RowRequests.CheckedPull checked = requests.check(request);
      new RowScanStream(
              request,
              node.shard(request.getShard()),
              checked.table(),
              checked.codec(),
              errors,
              traffic,
              executor,
              scans,
              out)
          .start();
    } catch (RuntimeException e) {
      if (room) {
        scans.release();
      }
      out.onError(errors.exception(e));
    }
  }

  private StreamObserver<Frame<PushRowsHeader>> push(StreamObserver<PushResponse> out) {
    PushStream.Sender sender = PushStream.acks((ServerCallStreamObserver<PushResponse>) out);
    RowPushStream stream = new RowPushStream(trainer, requests, errors, traffic, diskFull, sender);
    sender.request();
    return stream;
  }
}
