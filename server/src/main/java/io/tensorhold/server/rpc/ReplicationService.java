package io.tensorhold.server.rpc;

import com.google.protobuf.UnsafeByteOperations;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.ClusterNode;
import io.tensorhold.server.raft.CopyReader;
import io.tensorhold.server.raft.ReplicaCopy;
import io.tensorhold.server.rpc.replication.CompareRequest;
import io.tensorhold.server.rpc.replication.Copy;
import io.tensorhold.server.rpc.replication.CopyFile;
import io.tensorhold.server.rpc.replication.FileChunk;
import io.tensorhold.server.rpc.replication.OpenCopyRequest;
import io.tensorhold.server.rpc.replication.ReadFileRequest;
import io.tensorhold.server.rpc.replication.ReplicationGrpc;
import io.tensorhold.server.rpc.replication.StateChecksum;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.OptionalLong;

/** Gives this server's replicas to other servers of the cluster, as files. */
final class ReplicationService extends ReplicationGrpc.ReplicationImplBase {
  private final ClusterNode node;
  private final Errors errors;

  ReplicationService(ClusterNode node, Errors errors) {
    this.node = node;
    this.errors = errors;
  }

  @Override
  public void openCopy(OpenCopyRequest request, StreamObserver<Copy> reply) {
    Copy.Builder answer = Copy.newBuilder();
    try {
      requireCluster(request.getClusterId());
      ReplicaCopy copy =
          node.replicas().openCopy(request.getShard(), request.getMinIndex(), request.getBegun());
      answer.setId(copy.id()).setTerm(copy.term()).setIndex(copy.index());
      for (ReplicaCopy.File file : copy.files()) {
        answer.addFiles(CopyFile.newBuilder().setName(file.name()).setBytes(file.bytes()));
      }
    } catch (IOException | RuntimeException e) {
      reply.onError(errors.exception(e));
      return;
    }
    reply.onNext(answer.build());
    reply.onCompleted();
  }

  @Override
  public void compare(CompareRequest request, StreamObserver<StateChecksum> reply) {
    StateChecksum.Builder answer = StateChecksum.newBuilder();
    try {
      requireCluster(request.getClusterId());
      OptionalLong agreed =
          request.hasAgreed() ? OptionalLong.of(request.getAgreed()) : OptionalLong.empty();
      node.replicas()
          .compare(request.getShard(), request.getIndex(), agreed)
          .ifPresent(answer::setChecksum);
    } catch (RuntimeException e) {
      reply.onError(errors.exception(e));
      return;
    }
    reply.onNext(answer.build());
    reply.onCompleted();
  }

  private void requireCluster(String clusterId) {
    if (!clusterId.equals(node.clusterId())) {
      throw new Refusal(
          Reason.CLUSTER_MISMATCH,
          "this is cluster %s, not %s".formatted(node.clusterId(), clusterId),
          "value",
          clusterId,
          "expected",
          node.clusterId());
    }
  }

  @Override
  public void readFile(ReadFileRequest request, StreamObserver<FileChunk> reply) {
    try {
      requireCluster(request.getClusterId());
      FileSender sender =
          new FileSender(
              node.replicas()
                  .readCopy(
                      request.getShard(),
                      request.getCopy(),
                      request.getFile(),
                      request.getOffset()),
              (ServerCallStreamObserver<FileChunk>) reply);
      sender.start();
    } catch (IOException | RuntimeException e) {
      reply.onError(errors.exception(e));
    }
  }

  /** One file on its way, as fast as the other side takes it. gRPC runs its methods one by one. */
  private final class FileSender {
    private final CopyReader reader;
    private final ServerCallStreamObserver<FileChunk> reply;
    private boolean ended;

    FileSender(CopyReader reader, ServerCallStreamObserver<FileChunk> reply) {
      this.reader = reader;
      this.reply = reply;
    }

    void start() {
      reply.setOnReadyHandler(this::send);
      reply.setOnCancelHandler(this::end);
    }

    private void send() {
      try {
        while (!ended && reply.isReady()) {
          ByteBuffer piece = reader.next();
          if (piece == null) {
            reply.onNext(FileChunk.newBuilder().setCrc32C(reader.crc()).build());
            reply.onCompleted();
            end();
          } else {
            reply.onNext(
                FileChunk.newBuilder().setData(UnsafeByteOperations.unsafeWrap(piece)).build());
          }
        }
      } catch (IOException | RuntimeException e) {
        end();
        reply.onError(errors.exception(e));
      }
    }

    private void end() {
      ended = true;
      try {
        reader.close();
      } catch (IOException onlyRead) {
        // Nothing was written.
      }
    }
  }
}
