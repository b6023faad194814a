package io.tensorhold.server.catalog;

import io.tensorhold.proto.v1.JoinModelRequest;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.log.CatalogSnapshot;
import io.tensorhold.server.catalog.log.CatalogWorker;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The workers that are live, and the numbers of those that ended last. A part of the catalog's
 * replicated state: it knows no clock, and a lease ends by a command.
 */
final class WorkerSessions {
  private final TreeMap<Long, CatalogWorker> live = new TreeMap<>(Long::compareUnsigned);
  private final LinkedHashSet<Long> ended = new LinkedHashSet<>();

  /** The session that an earlier try of the request made; null if there is none. */
  @Nullable WorkerSession repeated(JoinModelRequest request) {
    for (CatalogWorker worker : live.values()) {
      if (request.getNonce() != 0 && worker.getNonce() == request.getNonce()) {
        return worker.getSession();
      }
    }
    return null;
  }

  /** Adds a session; one that holds its rank ends. */
  WorkerSession join(JoinModelRequest request, Model model, long session) {
    Map<Integer, WorkerSession> ranks = ranks(model.getId());
    int rank = request.hasRank() ? request.getRank() : free(model, ranks);
    checkRank(request, model, ranks, rank);
    WorkerSession holder = ranks.get(rank);
    if (holder == null && live.size() >= Limits.WORKER_SESSIONS) {
      throw new Refusal(
          Reason.LIMIT,
          "live workers: value=%d limit=%d".formatted(live.size(), Limits.WORKER_SESSIONS),
          "limit-name",
          "worker-sessions",
          "limit",
          Limits.WORKER_SESSIONS);
    }
    if (holder != null) {
      end(holder.getSession());
    }
    WorkerSession worker =
        WorkerSession.newBuilder()
            .setSession(session)
            .setModelId(model.getId())
            .setRank(rank)
            .setLabel(request.getLabel())
            .setLeaseMs(request.getLeaseMs() == 0 ? Limits.LEASE_DEFAULT_MS : request.getLeaseMs())
            .build();
    live.put(
        session,
        CatalogWorker.newBuilder().setSession(worker).setNonce(request.getNonce()).build());
    return worker;
  }

  private static int free(Model model, Map<Integer, WorkerSession> ranks) {
    int rank = 0;
    while (ranks.containsKey(rank)) {
      rank++;
    }
    int limit = limit(model);
    if (rank >= limit) {
      throw new Refusal(
          Reason.RANK_TAKEN,
          "all %d ranks of model %s have workers"
              .formatted(limit, ModelCheck.quote(model.getSpec().getName())),
          "limit",
          limit);
    }
    return rank;
  }

  private static int limit(Model model) {
    int workers = model.getSpec().getWorkers();
    return workers == 0 ? Limits.WORKERS : workers;
  }

  private static void checkRank(
      JoinModelRequest request, Model model, Map<Integer, WorkerSession> ranks, int rank) {
    int limit = limit(model);
    if (Integer.compareUnsigned(rank, limit) >= 0) {
      throw new Refusal(
          Reason.RANK_INVALID,
          "rank of model %s: value=%d allowed=0..%d"
              .formatted(
                  ModelCheck.quote(model.getSpec().getName()),
                  Integer.toUnsignedLong(rank),
                  limit - 1),
          "value",
          Integer.toUnsignedLong(rank),
          "limit",
          limit - 1);
    }
    int workers = model.getSpec().getWorkers();
    if (request.getWorkers() != 0 && workers != 0 && request.getWorkers() != workers) {
      throw new Refusal(
          Reason.RANK_INVALID,
          "model %s was created for %d workers: value=%d"
              .formatted(
                  ModelCheck.quote(model.getSpec().getName()),
                  workers,
                  Integer.toUnsignedLong(request.getWorkers())),
          "value",
          Integer.toUnsignedLong(request.getWorkers()),
          "expected",
          workers);
    }
    WorkerSession holder = ranks.get(rank);
    if (holder != null && request.getKeepHolder()) {
      throw new Refusal(
          Reason.RANK_TAKEN,
          "rank %d of model %s is held by %s (session %s)"
              .formatted(
                  rank,
                  ModelCheck.quote(model.getSpec().getName()),
                  ModelCheck.quote(holder.getLabel()),
                  Long.toUnsignedString(holder.getSession())),
          "value",
          rank,
          "session",
          Long.toUnsignedString(holder.getSession()));
    }
  }

  /** Ends a session; of the ended, the latest are remembered. */
  void end(long session) {
    if (live.remove(session) != null) {
      ended.add(session);
      if (ended.size() > Limits.ENDED_SESSIONS) {
        ended.removeFirst();
      }
    }
  }

  void endAllOf(long modelId) {
    ranks(modelId).values().forEach(worker -> end(worker.getSession()));
  }

  @Nullable WorkerSession live(long session) {
    CatalogWorker worker = live.get(session);
    return worker == null ? null : worker.getSession();
  }

  boolean ended(long session) {
    return ended.contains(session);
  }

  Map<Integer, WorkerSession> ranks(long modelId) {
    Map<Integer, WorkerSession> ranks = new TreeMap<>();
    for (CatalogWorker worker : live.values()) {
      if (worker.getSession().getModelId() == modelId) {
        ranks.put(worker.getSession().getRank(), worker.getSession());
      }
    }
    return ranks;
  }

  Collection<WorkerSession> all() {
    return live.values().stream().map(CatalogWorker::getSession).toList();
  }

  void write(CatalogSnapshot.Builder snapshot) {
    snapshot.addAllWorkers(live.values()).addAllEndedSessions(ended);
  }

  void restore(CatalogSnapshot snapshot) {
    live.clear();
    snapshot.getWorkersList().forEach(w -> live.put(w.getSession().getSession(), w));
    ended.clear();
    ended.addAll(snapshot.getEndedSessionsList());
  }
}
