package io.tensorhold.client;

import io.tensorhold.proto.v1.ClaimRankRequest;
import io.tensorhold.proto.v1.ClaimRankResponse;
import io.tensorhold.proto.v1.HeartbeatRequest;
import io.tensorhold.proto.v1.JoinModelRequest;
import io.tensorhold.proto.v1.JoinModelResponse;
import io.tensorhold.proto.v1.LeaveRequest;
import io.tensorhold.proto.v1.TrainingGrpc;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongFunction;

/**
 * A worker of a model: a rank, the session that holds it, and the step after which it goes on.
 *
 * <p>Steps are counted in the shards, with the weights. A worker that was killed joins again, gets
 * {@link #lastStep}, and sends the step after it; the shards that have it already know it. So no
 * step is lost and none is made twice, whatever the worker computes the second time.
 *
 * <p>A heartbeat in the background keeps the session alive. When it ends all the same, because the
 * process was stopped for longer than its lease or because another one took the rank, pushes fail
 * with SESSION_EXPIRED: join again. A worker is thread-safe.
 *
 * <p>Of a CHECKPOINTED model a shard loses what it has beyond its last checkpoint when its leader
 * changes. Pushes then fail with OVERLAY_LOST: join again, and go on after {@link #lastStep}; the
 * shards that kept a step know it.
 */
public final class Worker implements AutoCloseable {
  private static final int CALL_SECONDS = 5;
  private static final int BEATS_PER_LEASE = 3;

  private final ClusterConnection cluster;
  private final ModelHandle model;
  private final JoinModelResponse joined;
  private final Session session;
  private final long lastStep;
  private final Thread heart;
  private volatile boolean closed;

  private Worker(
      ClusterConnection cluster,
      ModelHandle model,
      JoinModelResponse joined,
      Session session,
      long lastStep) {
    this.cluster = cluster;
    this.model = model;
    this.joined = joined;
    this.session = session;
    this.lastStep = lastStep;
    this.heart = Thread.ofVirtual().name("heartbeat").start(this::beat);
  }

  static Worker join(
      ClusterConnection cluster,
      ModelHandle model,
      JoinOptions options,
      LongFunction<Session> sessions) {
    JoinModelRequest.Builder request =
        JoinModelRequest.newBuilder()
            .setModelId(model.id())
            .setWorkers(options.workers())
            .setLabel(options.label())
            .setLeaseMs(Math.toIntExact(options.lease().toMillis()))
            .setKeepHolder(!options.takeOver())
            .setNonce(ThreadLocalRandom.current().nextLong());
    if (options.rank() != null) {
      request.setRank(options.rank());
    }
    JoinModelResponse joined = cluster.training(stub -> stub.joinModel(request.build()));
    Map<Integer, ClaimRankResponse> claimed = claim(cluster, model, joined);
    Session session = sessions.apply(joined.getSession());
    claimed.forEach((shard, answer) -> session.believe(shard, answer.getTerm()));
    long lastStep =
        claimed.values().stream().mapToLong(ClaimRankResponse::getLastStep).min().orElse(0);
    return new Worker(cluster, model, joined, session, lastStep);
  }

  /** Claims the rank on every shard of the model; gives their answers. */
  private static Map<Integer, ClaimRankResponse> claim(
      ClusterConnection cluster, ModelHandle model, JoinModelResponse joined) {
    Map<Integer, CompletableFuture<ClaimRankResponse>> claims = new TreeMap<>();
    for (int shard : model.shards(cluster.map().getShardCount())) {
      ClaimRankRequest request =
          ClaimRankRequest.newBuilder()
              .setModelId(model.id())
              .setShard(shard)
              .setSession(joined.getSession())
              .setCatalogIndex(joined.getCatalogIndex())
              .build();
      claims.put(
          shard,
          CompletableFuture.supplyAsync(
              () ->
                  cluster.shardLeader(
                      shard,
                      channel ->
                          TrainingGrpc.newBlockingStub(channel)
                              .withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS)
                              .claimRank(request)),
              cluster.executor()));
    }
    Map<Integer, ClaimRankResponse> answers = new TreeMap<>();
    try {
      claims.forEach((shard, claim) -> answers.put(shard, claim.join()));
    } catch (CompletionException e) {
      throw explain(cluster, model, "rank %d can't begin".formatted(joined.getRank()), e);
    }
    return answers;
  }

  /** The model, as it was when this worker joined. */
  public ModelHandle model() {
    return model;
  }

  /** Its rank, from 0. */
  public int rank() {
    return joined.getRank();
  }

  /** Ranks of the model; 0: as many as join. */
  public int workers() {
    return joined.getWorkers();
  }

  /** The session that holds the rank. */
  public Session session() {
    return session;
  }

  /**
   * The last step that every shard had of this rank when it joined; the first to send is the next.
   */
  public long lastStep() {
    return lastStep;
  }

  long catalogIndex() {
    return joined.getCatalogIndex();
  }

  /**
   * One step: f32 gradients of several tensors, sent as {@link Session#encodeGradients} says.
   *
   * @param step the worker's clock: {@link #lastStep} + 1, and so on
   * @return ends when every shard has made the step and the model's consistency lets this worker go
   *     on. Fails with STEP_CLOSED where a step was made without this rank, STEP_FAILED where the
   *     model's policy is FAIL and another did not come, SESSION_EXPIRED, or DEADLINE_EXCEEDED,
   *     which names the ranks that the step waits for
   */
  public CompletableFuture<PushResult> step(long step, Map<Parameter, MemorySegment> gradients) {
    return step(step, gradients, List.of());
  }

  /**
   * The same with gradients of rows of the model's tables: rows and tensors make one step, and a
   * worker that makes it again after it was lost makes neither twice. It is to make it of the same
   * tables, and of the same rows where one shard gets more than 1 MiB of a table's; where it has
   * been begun, it can't be finished otherwise. A step is sent when the one before has ended.
   *
   * @throws TensorholdException PAYLOAD_LENGTH if there are not as many values as the keys take
   */
  public CompletableFuture<PushResult> step(
      long step, Map<Parameter, MemorySegment> gradients, List<RowGradients> rows) {
    return explained(step, session.workerStep(this, step, gradients, rows, null));
  }

  /** The same, and brings the updated values back as f32 in the same round trip. */
  public CompletableFuture<PushResult> stepAndPull(
      long step, Map<Parameter, MemorySegment> gradients, Map<Parameter, MemorySegment> updated) {
    return stepAndPull(step, gradients, List.of(), updated);
  }

  /** The same with gradients of rows, whose updated values do not come back. */
  public CompletableFuture<PushResult> stepAndPull(
      long step,
      Map<Parameter, MemorySegment> gradients,
      List<RowGradients> rows,
      Map<Parameter, MemorySegment> updated) {
    return explained(step, session.workerStep(this, step, gradients, rows, updated));
  }

  /** A step that no answer came for: the error says whom it waits for. */
  private CompletableFuture<PushResult> explained(long step, CompletableFuture<PushResult> result) {
    String what = "step %d of rank %d".formatted(step, rank());
    return result.exceptionallyComposeAsync(
        failure -> CompletableFuture.failedFuture(explain(cluster, model, what, failure)),
        cluster.executor());
  }

  private static TensorholdException explain(
      ClusterConnection cluster, ModelHandle model, String what, Throwable failure) {
    Throwable cause = failure.getCause() == null ? failure : failure.getCause();
    TensorholdException known = TensorholdException.of(cause);
    if (!known.reason().equals("DEADLINE_EXCEEDED")) {
      return known;
    }
    try {
      TrainingView view = TrainingView.ask(cluster, cluster.map(), model.id());
      return new TensorholdException(
          "DEADLINE_EXCEEDED",
          "%s: %s; %s"
              .formatted(what, known.getMessage(), String.join("; ", view.waits(model.id()))));
    } catch (TensorholdException unknown) {
      return known;
    }
  }

  private void beat() {
    long pause = TimeUnit.MILLISECONDS.toNanos(joined.getLeaseMs() / BEATS_PER_LEASE);
    HeartbeatRequest request =
        HeartbeatRequest.newBuilder().setSession(joined.getSession()).build();
    while (!closed && !cluster.closed()) {
      LockSupport.parkNanos(pause);
      try {
        if (!closed) {
          cluster.training(stub -> stub.heartbeat(request));
        }
      } catch (TensorholdException e) {
        if (e.reason().startsWith("SESSION_")) {
          return; // The next push says so.
        }
      }
    }
  }

  /** Goes without a word, as a killed process does: its session ends when its lease is over. */
  public void abandon() {
    closed = true;
    LockSupport.unpark(heart);
    session.close();
  }

  /** Leaves the model: nobody waits for this worker's lease. */
  @Override
  public void close() {
    boolean first = !closed;
    abandon();
    if (first) {
      try {
        cluster.training(
            stub -> stub.leave(LeaveRequest.newBuilder().setSession(joined.getSession()).build()));
      } catch (TensorholdException e) {
        // Its lease ends by itself.
      }
    }
  }
}
