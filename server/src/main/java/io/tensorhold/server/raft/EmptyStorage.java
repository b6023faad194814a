package io.tensorhold.server.raft;

import java.util.function.Supplier;
import org.apache.ratis.server.storage.RaftStorage;
import org.apache.ratis.statemachine.SnapshotInfo;
import org.apache.ratis.statemachine.SnapshotRetentionPolicy;
import org.apache.ratis.statemachine.StateMachineStorage;
import org.jspecify.annotations.Nullable;

/** A storage that leaves the keeping of snapshots to the state machine. */
record EmptyStorage(Supplier<@Nullable SnapshotInfo> latest) implements StateMachineStorage {
  @Override
  public void init(RaftStorage storage) {}

  @Override
  public void format() {}

  @Override
  public @Nullable SnapshotInfo getLatestSnapshot() {
    return latest.get();
  }

  @Override
  public void cleanupOldSnapshots(SnapshotRetentionPolicy policy) {}
}
