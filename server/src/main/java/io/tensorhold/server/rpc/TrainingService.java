package io.tensorhold.server.rpc;

import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.ClaimRankRequest;
import io.tensorhold.proto.v1.ClaimRankResponse;
import io.tensorhold.proto.v1.GetTrainingStatusRequest;
import io.tensorhold.proto.v1.HeartbeatRequest;
import io.tensorhold.proto.v1.HeartbeatResponse;
import io.tensorhold.proto.v1.JoinModelRequest;
import io.tensorhold.proto.v1.JoinModelResponse;
import io.tensorhold.proto.v1.LeaveRequest;
import io.tensorhold.proto.v1.LeaveResponse;
import io.tensorhold.proto.v1.TrainingGrpc;
import io.tensorhold.proto.v1.TrainingStatus;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import io.tensorhold.server.raft.CatalogLog;
import io.tensorhold.server.training.Trainer;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.Supplier;

/** The Training service: workers come, show that they live, and go. */
final class TrainingService extends TrainingGrpc.TrainingImplBase {
  private final CatalogLog catalog;
  private final Trainer trainer;
  private final BlockRequests requests;
  private final Errors errors;
  private final Executor executor;

  TrainingService(
      CatalogLog catalog, Trainer trainer, int shardCount, Errors errors, Executor executor) {
    this.catalog = catalog;
    this.trainer = trainer;
    this.requests = new BlockRequests(catalog, shardCount);
    this.errors = errors;
    this.executor = executor;
  }

  @Override
  public void joinModel(JoinModelRequest request, StreamObserver<JoinModelResponse> reply) {
    answer(
        () -> {
          check(request);
          return catalog
              .append(CatalogCommand.newBuilder().setJoinModel(request).build())
              .thenApply(CatalogReply::getJoined);
        },
        reply);
  }

  private static void check(JoinModelRequest request) {
    CatalogService.checkLabel(request.getLabel());
    int lease = request.getLeaseMs();
    if (lease != 0 && (lease < Limits.LEASE_MIN_MS || lease > Limits.LEASE_MAX_MS)) {
      throw new Refusal(
          Reason.REQUEST_INVALID,
          "lease_ms: value=%d allowed=%d..%d, or 0 for %d"
              .formatted(
                  Integer.toUnsignedLong(lease),
                  Limits.LEASE_MIN_MS,
                  Limits.LEASE_MAX_MS,
                  Limits.LEASE_DEFAULT_MS),
          "value",
          Integer.toUnsignedLong(lease),
          "limit",
          Limits.LEASE_MAX_MS);
    }
  }

  @Override
  public void claimRank(ClaimRankRequest request, StreamObserver<ClaimRankResponse> reply) {
    executor.execute(
        () ->
            answer(
                () -> {
                  requests.checkShard(request.getShard());
                  ModelView view =
                      requests.model(request.getModelId(), request.getCatalogIndex(), false);
                  return trainer
                      .claim(view.model(), request.getShard(), request.getSession())
                      .thenApply(
                          claimed ->
                              ClaimRankResponse.newBuilder()
                                  .setLastStep(claimed.lastStep())
                                  .setTerm(claimed.term())
                                  .build());
                },
                reply));
  }

  @Override
  public void heartbeat(HeartbeatRequest request, StreamObserver<HeartbeatResponse> reply) {
    answer(
        () -> CompletableFuture.completedFuture(trainer.workers().heartbeat(request.getSession())),
        reply);
  }

  @Override
  public void leave(LeaveRequest request, StreamObserver<LeaveResponse> reply) {
    answer(
        () ->
            trainer
                .workers()
                .end(request.getSession())
                .thenApply(done -> LeaveResponse.getDefaultInstance()),
        reply);
  }

  @Override
  public void getTrainingStatus(
      GetTrainingStatusRequest request, StreamObserver<TrainingStatus> reply) {
    answer(() -> CompletableFuture.completedFuture(trainer.status(request.getModelId())), reply);
  }

  private <T> void answer(Supplier<? extends CompletableFuture<T>> work, StreamObserver<T> reply) {
    CompletableFuture<T> done;
    try {
      done = work.get();
    } catch (RuntimeException e) {
      done = CompletableFuture.failedFuture(e);
    }
    errors.answer(done, reply);
  }
}
