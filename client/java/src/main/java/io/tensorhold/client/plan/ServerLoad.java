package io.tensorhold.client.plan;

/**
 * How evenly blocks spread over servers.
 *
 * <p>Shards are placed evenly, so a server has at most c = ceil(shards · replicas / servers) of
 * them. Blocks fall into shards by a hash, as balls into bins: a block of size s is one of the c
 * shards' with p = c / shards, so the server's load has the mean p · Σs and the variance p(1 − p) ·
 * Σs². The fullest of m servers is expected near mean + σ · √(2 ln m), the normal tail's estimate
 * of a maximum; it overstates slightly for few servers, and cannot exceed the whole. With every
 * shard on every server (p = 1) there is nothing left to chance and it is exact.
 *
 * @param averageShare share of a copy that an average server holds: replicas / servers
 * @param fullestShare share of a copy on the fullest server to expect
 * @param fullestShards shards on the fullest server
 */
record ServerLoad(double averageShare, double fullestShare, int fullestShards) {
  /**
   * @param bytes Σs, the bytes of a copy
   * @param squares Σs², over its blocks
   */
  static ServerLoad of(PlanRequest.Storage storage, double bytes, double squares) {
    int servers = storage.servers();
    int shards =
        Math.min(storage.shards(), Math.ceilDiv(storage.shards() * storage.replicas(), servers));
    double average = (double) storage.replicas() / servers;
    if (bytes == 0) {
      return new ServerLoad(average, average, shards);
    }
    double p = (double) shards / storage.shards();
    double deviation = Math.sqrt(p * (1 - p) * squares) / bytes;
    double fullest = p + deviation * Math.sqrt(2 * Math.log(servers));
    return new ServerLoad(average, Math.min(1, fullest), shards);
  }
}
