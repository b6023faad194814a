package io.tensorhold.server.training;

import io.tensorhold.proto.v1.WorkerSession;
import java.util.Collection;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** Who the live workers of a model are, as this server's catalog knows. */
interface Roster {
  /** Live workers of a model by rank. */
  Map<Integer, WorkerSession> of(long modelId);

  /** Ranks in words: with the label of their worker, or that they have none. */
  default String describe(long modelId, Collection<Integer> ranks) {
    Map<Integer, WorkerSession> live = of(modelId);
    return ranks.stream()
        .limit(16)
        .map(rank -> "rank " + rank + " (" + who(live.get(rank)) + ")")
        .collect(Collectors.joining(", ", "", ranks.size() > 16 ? ", …" : ""));
  }

  private static String who(@Nullable WorkerSession worker) {
    if (worker == null) {
      return "no live session";
    }
    return "%s, session %s"
        .formatted(worker.getLabel(), Long.toUnsignedString(worker.getSession()));
  }
}
