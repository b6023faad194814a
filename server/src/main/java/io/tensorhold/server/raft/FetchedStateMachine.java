package io.tensorhold.server.raft;

import java.io.IOException;
import java.util.concurrent.CompletableFuture;
import org.apache.ratis.proto.RaftProtos.RoleInfoProto;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.protocol.RaftPeerId;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.statemachine.impl.BaseStateMachine;
import org.apache.ratis.util.LifeCycle.State;

/** A replica that another server's copy takes the place of when the log can't bring it on. */
abstract class FetchedStateMachine extends BaseStateMachine {
  private final ReplicaFetches fetches;

  FetchedStateMachine(ReplicaFetches fetches) {
    this.fetches = fetches;
  }

  /** Where a copy of the replica goes that another server holds. */
  abstract ReplicaFetches.Target target();

  /** Goes on from the received copy. */
  abstract void reload() throws IOException;

  /**
   * The leader has no log any more that would bring this replica up to date. While the copy is
   * fetched the replica stays as it is; {@link #reinitialize} puts the copy in its place.
   */
  @Override
  public CompletableFuture<TermIndex> notifyInstallSnapshotFromLeader(
      RoleInfoProto role, TermIndex firstInLog) {
    if (firstInLog.getIndex() <= 0) {
      return CompletableFuture.completedFuture(null);
    }
    RaftPeerId leader = RaftPeerId.valueOf(role.getFollowerInfo().getLeaderInfo().getId().getId());
    return fetches.start(target(), leader.toString(), firstInLog.getIndex() - 1);
  }

  @Override
  public void pause() {
    getLifeCycle().transition(State.PAUSING);
    getLifeCycle().transition(State.PAUSED);
  }

  @Override
  public void reinitialize() throws IOException {
    reload();
    if (getLifeCycleState() == State.PAUSED) {
      getLifeCycle().transition(State.STARTING);
      getLifeCycle().transition(State.RUNNING);
    }
  }

  @Override
  public CompletableFuture<Message> query(Message request) {
    return CompletableFuture.completedFuture(Message.EMPTY);
  }
}
