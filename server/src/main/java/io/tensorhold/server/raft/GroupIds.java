package io.tensorhold.server.raft;

import java.nio.charset.StandardCharsets;
import java.util.UUID;
import org.apache.ratis.protocol.RaftGroupId;

/**
 * The ids of a cluster's Raft groups: name-based UUIDs of "cluster id/catalog" and "cluster
 * id/shard/number". On disk, as names of directories: do not change.
 */
final class GroupIds {
  private GroupIds() {}

  static RaftGroupId catalog(String clusterId) {
    return id(clusterId + "/catalog");
  }

  static RaftGroupId shard(String clusterId, int shard) {
    return id(clusterId + "/shard/" + shard);
  }

  private static RaftGroupId id(String name) {
    return RaftGroupId.valueOf(UUID.nameUUIDFromBytes(name.getBytes(StandardCharsets.UTF_8)));
  }
}
