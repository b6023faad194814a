package io.tensorhold.server.raft;

import java.util.List;
import java.util.function.Function;
import org.apache.ratis.server.protocol.TermIndex;
import org.apache.ratis.server.storage.FileInfo;
import org.apache.ratis.statemachine.SnapshotInfo;

/** The database of a shard at an index; its files are copied when someone asks for them. */
final class DatabaseSnapshot implements SnapshotInfo {
  private final TermIndex at;
  private final Function<TermIndex, List<FileInfo>> export;
  private List<FileInfo> files = List.of();

  DatabaseSnapshot(TermIndex at, Function<TermIndex, List<FileInfo>> export) {
    this.at = at;
    this.export = export;
  }

  @Override
  public TermIndex getTermIndex() {
    return at;
  }

  @Override
  public synchronized List<FileInfo> getFiles() {
    if (files.isEmpty()) {
      files = export.apply(at);
    }
    return files;
  }

  @Override
  public String toString() {
    return "database at " + at;
  }
}
