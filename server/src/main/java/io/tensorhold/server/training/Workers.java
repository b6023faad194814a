package io.tensorhold.server.training;

import io.tensorhold.proto.v1.HeartbeatResponse;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.raft.CatalogLog;
import io.tensorhold.server.raft.Leadership;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.LongSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The live workers of all models, as the catalog knows them, and the leases of those it leads. */
public final class Workers implements Roster {
  private static final Logger logger = LoggerFactory.getLogger(Workers.class);

  private final CatalogLog catalog;
  private final LongSupplier nanos;
  private final Leases leases = new Leases();

  Workers(CatalogLog catalog, LongSupplier nanos) {
    this.catalog = catalog;
    this.nanos = nanos;
  }

  @Override
  public Map<Integer, WorkerSession> of(long modelId) {
    return catalog.state().workers(modelId);
  }

  /**
   * The live worker with a session's number.
   *
   * @throws Refusal SESSION_EXPIRED or SESSION_UNKNOWN if it is none
   */
  WorkerSession require(long session) {
    CatalogState state = catalog.state();
    WorkerSession worker = state.worker(session);
    if (worker == null) {
      refuseEnded(session);
      throw new Refusal(
          Reason.SESSION_UNKNOWN,
          "session %s is no live worker's: join the model"
              .formatted(Long.toUnsignedString(session)),
          "value",
          Long.toUnsignedString(session));
    }
    return worker;
  }

  /**
   * Refuses a worker's session that has ended, as far as this server has heard.
   *
   * @throws Refusal SESSION_EXPIRED
   */
  void refuseEnded(long session) {
    if (catalog.state().ended(session)) {
      throw new Refusal(
          Reason.SESSION_EXPIRED,
          "session %s has ended: its lease was over, it left, or its rank was taken over; join the model again"
              .formatted(Long.toUnsignedString(session)),
          "value",
          Long.toUnsignedString(session));
    }
  }

  /** Renews a lease; this server must lead the catalog. */
  public HeartbeatResponse heartbeat(long session) {
    Leadership leadership = catalog.leadership();
    if (!leadership.leads()) {
      throw Refusals.notLeader(leadership);
    }
    WorkerSession worker = require(session);
    leases.heard(session, nanos.getAsLong());
    return HeartbeatResponse.newBuilder().setLeaseMs(worker.getLeaseMs()).build();
  }

  /** Ends a session. */
  public CompletableFuture<?> end(long session) {
    CatalogCommand.Builder command = CatalogCommand.newBuilder();
    command.getEndSessionBuilder().setSession(session);
    return catalog.append(command.build());
  }

  /** Live workers of a model, or of all for 0, with the ages of their heartbeats. */
  public List<WorkerSession> sessions(long modelId) {
    if (!catalog.leadership().leads()) {
      return List.of();
    }
    long now = nanos.getAsLong();
    return catalog.state().workers().stream()
        .filter(worker -> modelId == 0 || worker.getModelId() == modelId)
        .map(
            worker ->
                worker.toBuilder()
                    .setHeartbeatAgeMs(leases.ageMillis(worker.getSession(), now))
                    .build())
        .toList();
  }

  /** Ends the sessions whose leases are over, if this server leads the catalog. */
  void sweep() {
    Leadership leadership = catalog.leadership();
    if (!leadership.leads()) {
      return;
    }
    CatalogState state = catalog.state();
    for (long session : leases.over(leadership.term(), state.workers(), nanos.getAsLong())) {
      WorkerSession worker = state.worker(session);
      if (worker != null) {
        logger.warn(
            "rank {} of model {} ({}, session {}): no heartbeat for {} ms, its session ends",
            worker.getRank(),
            worker.getModelId(),
            worker.getLabel(),
            session,
            worker.getLeaseMs());
        var _ =
            end(session)
                .exceptionally(
                    failure -> {
                      logger.info("session {} did not end yet: {}", session, failure.getMessage());
                      return null;
                    });
      }
    }
  }
}
