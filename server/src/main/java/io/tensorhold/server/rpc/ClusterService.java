package io.tensorhold.server.rpc;

import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.ClusterGrpc;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.GetClusterMapRequest;
import io.tensorhold.proto.v1.GetServerStatusRequest;
import io.tensorhold.proto.v1.JoinRequest;
import io.tensorhold.proto.v1.JoinResponse;
import io.tensorhold.proto.v1.MeasureModelRequest;
import io.tensorhold.proto.v1.MeasureModelResponse;
import io.tensorhold.proto.v1.RemoveServerRequest;
import io.tensorhold.proto.v1.ServerStatus;
import io.tensorhold.server.admin.ServerReport;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.raft.ClusterNode;
import java.util.function.Supplier;

/** The Cluster service: the map, joining, and this server's own figures. */
final class ClusterService extends ClusterGrpc.ClusterImplBase {
  private final ClusterNode node;
  private final Supplier<ClusterMap> map;
  private final ServerReport report;
  private final Errors errors;

  ClusterService(ClusterNode node, Supplier<ClusterMap> map, ServerReport report, Errors errors) {
    this.node = node;
    this.map = map;
    this.report = report;
    this.errors = errors;
  }

  @Override
  public void getClusterMap(GetClusterMapRequest request, StreamObserver<ClusterMap> reply) {
    answer(map, reply);
  }

  @Override
  public void join(JoinRequest request, StreamObserver<JoinResponse> reply) {
    try {
      ClusterMap now = node.catalog().state().map();
      String asked = request.getClusterId();
      if (!asked.isEmpty() && !now.getClusterId().isEmpty() && !asked.equals(now.getClusterId())) {
        throw new Refusal(
            Reason.CLUSTER_MISMATCH,
            "server %s belongs to cluster %s; this is cluster %s: start it with an empty data directory"
                .formatted(request.getServer().getId(), asked, now.getClusterId()),
            "value",
            asked,
            "expected",
            now.getClusterId());
      }
      CatalogCommand.Builder command = CatalogCommand.newBuilder();
      if (request.getReplaces().isEmpty()) {
        command.setJoin(request.getServer());
      } else {
        command.getReplaceBuilder().setFormer(request.getReplaces()).setServer(request.getServer());
      }
      append(command.build(), reply, () -> JoinResponse.newBuilder().setMap(map.get()).build());
    } catch (RuntimeException e) {
      reply.onError(errors.exception(e));
    }
  }

  @Override
  public void removeServer(RemoveServerRequest request, StreamObserver<ClusterMap> reply) {
    CatalogCommand.Builder command = CatalogCommand.newBuilder();
    command.getRemoveBuilder().setServerId(request.getServerId());
    append(command.build(), reply, map);
  }

  private <T> void append(CatalogCommand command, StreamObserver<T> reply, Supplier<T> answer) {
    var _ =
        node.catalog()
            .append(command)
            .whenComplete(
                (done, failure) -> {
                  if (failure != null) {
                    reply.onError(errors.exception(failure));
                  } else {
                    reply.onNext(answer.get());
                    reply.onCompleted();
                  }
                });
  }

  @Override
  public void getServerStatus(GetServerStatusRequest request, StreamObserver<ServerStatus> reply) {
    answer(() -> report.status(request.getChecksums()), reply);
  }

  @Override
  public void measureModel(
      MeasureModelRequest request, StreamObserver<MeasureModelResponse> reply) {
    answer(() -> report.measure(request.getModelId()), reply);
  }

  private <T> void answer(Supplier<T> value, StreamObserver<T> reply) {
    T answer;
    try {
      answer = value.get();
    } catch (RuntimeException e) {
      reply.onError(errors.exception(e));
      return;
    }
    reply.onNext(answer);
    reply.onCompleted();
  }
}
