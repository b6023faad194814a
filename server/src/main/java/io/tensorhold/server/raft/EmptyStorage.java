package io.tensorhold.server.raft;

import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.SnapshotRetentionPolicy;
import org.apache.ratis.statemachine.StateMachineStorage;

/** A storage that leaves the keeping of snapshots to the state machine. */
abstract class EmptyStorage implements StateMachineStorage {
  @Override
  public void init(RaftStorage storage) {}

  @Override
  public void format() {}

  @Override
  public void cleanupOldSnapshots(SnapshotRetentionPolicy policy) {}
}
