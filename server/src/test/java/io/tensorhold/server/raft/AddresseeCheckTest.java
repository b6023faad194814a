package io.tensorhold.server.raft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.proto.v1.Server;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.ratis.proto.RaftProtos.InstallSnapshotReplyProto;
import org.apache.ratis.proto.RaftProtos.InstallSnapshotRequestProto;
import org.apache.ratis.proto.RaftProtos.RaftRpcRequestProto;
import org.apache.ratis.proto.RaftProtos.RoleInfoProto;
import org.apache.ratis.proto.RaftProtos.TermIndexProto;
import org.apache.ratis.proto.grpc.RaftServerProtocolServiceGrpc;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.server.RaftServer;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.impl.BaseStateMachine;
import org.apache.ratis.thirdparty.io.grpc.ManagedChannel;
import org.apache.ratis.thirdparty.io.grpc.netty.NettyChannelBuilder;
import org.apache.ratis.thirdparty.io.grpc.stub.StreamObserver;
import org.apache.ratis.util.ProtoUtils;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What a leader says to one server's port of Raft, over the wire. */
@Timeout(60)
class AddresseeCheckTest {
  private static final RaftGroupId GROUP = RaftGroupId.valueOf(UUID.randomUUID());

  @TempDir Path directory;
  private final CountDownLatch opening = new CountDownLatch(1);
  private final CountDownLatch opens = new CountDownLatch(1);
  private final CompletableFuture<TermIndex> toldOfSnapshot = new CompletableFuture<>();
  private RaftNode node;
  private Server self;
  private ManagedChannel channel;

  /** A replica whose database takes as long to open as the test wants. */
  private final class SlowMachine extends BaseStateMachine {
    @Override
    public void initialize(RaftServer server, RaftGroupId group, RaftStorage storage)
        throws IOException {
      super.initialize(server, group, storage);
      opening.countDown();
      try {
        opens.await();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }

    @Override
    public CompletableFuture<TermIndex> notifyInstallSnapshotFromLeader(
        RoleInfoProto role, TermIndex firstInLog) {
      toldOfSnapshot.complete(firstInLog);
      return new CompletableFuture<>();
    }
  }

  @BeforeEach
  void start() throws IOException {
    int port;
    try (ServerSocket free = new ServerSocket(0)) {
      port = free.getLocalPort();
    }
    self = Server.newBuilder().setId("self").setRaftAddress("127.0.0.1:" + port).build();
    node =
        new RaftNode(
            RaftSettings.DEFAULT,
            "self",
            new InetSocketAddress(InetAddress.getLoopbackAddress(), port),
            directory,
            group -> new SlowMachine());
    node.start();
    channel = NettyChannelBuilder.forAddress("127.0.0.1", port).usePlaintext().build();
  }

  @AfterEach
  void stop() throws IOException {
    opens.countDown();
    channel.shutdownNow();
    node.close();
  }

  /** A leader whose log begins at 10 tells the server to get the state before that. */
  private InstallSnapshotReplyProto tellOfSnapshot(String addressee) {
    CompletableFuture<InstallSnapshotReplyProto> answer = new CompletableFuture<>();
    StreamObserver<InstallSnapshotRequestProto> stream =
        RaftServerProtocolServiceGrpc.newStub(channel)
            .installSnapshot(
                new StreamObserver<>() {
                  @Override
                  public void onNext(InstallSnapshotReplyProto reply) {
                    answer.complete(reply);
                  }

                  @Override
                  public void onError(Throwable error) {
                    answer.completeExceptionally(error);
                  }

                  @Override
                  public void onCompleted() {}
                });
    stream.onNext(
        InstallSnapshotRequestProto.newBuilder()
            .setServerRequest(
                RaftRpcRequestProto.newBuilder()
                    .setRequestorId(RaftPeerId.valueOf("leader").toByteString())
                    .setReplyId(RaftPeerId.valueOf(addressee).toByteString())
                    .setRaftGroupId(ProtoUtils.toRaftGroupIdProtoBuilder(GROUP)))
            .setLeaderTerm(1)
            .setNotification(
                InstallSnapshotRequestProto.NotificationProto.newBuilder()
                    .setFirstAvailableTermIndex(
                        TermIndexProto.newBuilder().setTerm(1).setIndex(10)))
            .build());
    return answer.orTimeout(30, TimeUnit.SECONDS).join();
  }

  /** Ratis would note that a snapshot is under way, fail, and never ask for one again. */
  @Test
  void newMemberGetsItsSnapshotThoughTheLeaderSpokeBeforeItHadStarted() throws Exception {
    CompletableFuture<Void> prepared =
        CompletableFuture.runAsync(
            () -> {
              try {
                node.prepare(GROUP, self);
              } catch (IOException e) {
                throw new UncheckedIOException(e);
              }
            });
    opening.await();

    assertThatThrownBy(() -> tellOfSnapshot("self"))
        .hasMessageContaining("has not started its replica");

    opens.countDown();
    prepared.join();
    tellOfSnapshot("self");
    assertThat(toldOfSnapshot.orTimeout(30, TimeUnit.SECONDS).join())
        .isEqualTo(TermIndex.valueOf(1, 10));
  }

  @Test
  void messageForTheServerThatHadThisAddressBeforeIsTurnedAway() throws Exception {
    opens.countDown();
    node.prepare(GROUP, self);

    assertThatThrownBy(() -> tellOfSnapshot("former"))
        .hasMessageContaining("this is server self now");
    assertThat(toldOfSnapshot).isNotDone();
  }
}
