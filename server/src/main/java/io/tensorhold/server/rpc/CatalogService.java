package io.tensorhold.server.rpc;

import io.grpc.stub.StreamObserver;
import io.tensorhold.proto.v1.CatalogGrpc;
import io.tensorhold.proto.v1.CreateModelRequest;
import io.tensorhold.proto.v1.DeleteModelRequest;
import io.tensorhold.proto.v1.DeleteModelResponse;
import io.tensorhold.proto.v1.DescribeModelRequest;
import io.tensorhold.proto.v1.ListModelsRequest;
import io.tensorhold.proto.v1.ListModelsResponse;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.OpenSessionRequest;
import io.tensorhold.proto.v1.OpenSessionResponse;
import io.tensorhold.proto.v1.PublishModelRequest;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.ModelCheck;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import io.tensorhold.server.raft.CatalogLog;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;

/** The Catalog service: every call is answered by the catalog's leader. */
final class CatalogService extends CatalogGrpc.CatalogImplBase {
  private final CatalogLog catalog;
  private final Errors errors;
  private final BooleanSupplier diskFull;

  CatalogService(CatalogLog catalog, Errors errors, BooleanSupplier diskFull) {
    this.catalog = catalog;
    this.errors = errors;
    this.diskFull = diskFull;
  }

  @Override
  public void createModel(CreateModelRequest request, StreamObserver<Model> reply) {
    write(
        () -> ModelCheck.complete(request.getSpec()),
        command -> command.setCreate(request),
        CatalogReply::getModel,
        reply);
  }

  @Override
  public void publishModel(PublishModelRequest request, StreamObserver<Model> reply) {
    write(() -> null, command -> command.setPublish(request), CatalogReply::getModel, reply);
  }

  @Override
  public void deleteModel(DeleteModelRequest request, StreamObserver<DeleteModelResponse> reply) {
    write(
        () -> null,
        command -> command.setDelete(request),
        done -> DeleteModelResponse.newBuilder().setModelId(done.getId()).build(),
        reply);
  }

  @Override
  public void openSession(OpenSessionRequest request, StreamObserver<OpenSessionResponse> reply) {
    write(
        () -> {
          checkLabel(request.getLabel());
          return null;
        },
        command -> command.setOpenSession(request),
        done -> OpenSessionResponse.newBuilder().setSession(done.getId()).build(),
        reply);
  }

  static void checkLabel(String label) {
    if (label.length() > Limits.NAME_BYTES) {
      throw new Refusal(
          Reason.NAME_INVALID,
          "a session's label has at most %d characters: value=%d"
              .formatted(Limits.NAME_BYTES, label.length()));
    }
  }

  @Override
  public void describeModel(DescribeModelRequest request, StreamObserver<Model> reply) {
    read(() -> catalog.state().find(request.getName(), request.getLoading()), reply);
  }

  @Override
  public void listModels(ListModelsRequest request, StreamObserver<ListModelsResponse> reply) {
    read(() -> catalog.state().list(request), reply);
  }

  /** The check runs before anything is logged, so that bad input costs nothing. */
  private <T> void write(
      Supplier<?> check,
      Consumer<CatalogCommand.Builder> fill,
      Function<CatalogReply, T> answer,
      StreamObserver<T> reply) {
    CompletableFuture<T> done;
    try {
      var _ = check.get();
      if (diskFull.getAsBoolean()) {
        throw BlockRequests.diskFull();
      }
      CatalogCommand.Builder command = CatalogCommand.newBuilder();
      fill.accept(command);
      CatalogCommand complete = command.build();
      if (complete.getSerializedSize() > Limits.ENTRY_BYTES) {
        throw new Refusal(
            Reason.LIMIT,
            "the model's specification has %d bytes, limit=%d"
                .formatted(complete.getSerializedSize(), Limits.ENTRY_BYTES),
            "limit-name",
            "entry-bytes",
            "value",
            complete.getSerializedSize());
      }
      done = catalog.append(complete).thenApply(answer);
    } catch (RuntimeException e) {
      done = CompletableFuture.failedFuture(e);
    }
    errors.answer(done, reply);
  }

  private <T> void read(Supplier<T> answer, StreamObserver<T> reply) {
    CompletableFuture<T> done;
    try {
      done = catalog.fence().thenApply(fenced -> answer.get());
    } catch (RuntimeException e) {
      done = CompletableFuture.failedFuture(e);
    }
    errors.answer(done, reply);
  }
}
