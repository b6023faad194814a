package io.tensorhold.server.raft;

import java.util.List;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.server.storage.FileInfo;
import org.apache.ratis.statemachine.SnapshotInfo;

/** What a replica has on disk, as Ratis wants to know it: an index. Its files travel our way. */
record DatabaseSnapshot(TermIndex at) implements SnapshotInfo {
  @Override
  public TermIndex getTermIndex() {
    return at;
  }

  @Override
  public List<FileInfo> getFiles() {
    return List.of();
  }
}
