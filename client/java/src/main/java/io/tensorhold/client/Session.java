package io.tensorhold.client;

import com.google.protobuf.Message;
import io.tensorhold.client.BlockLanes.Step;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.StepFactors;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import java.util.function.LongFunction;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A worker's registration: what it pushes is applied exactly once, or not at all.
 *
 * <p>Every push has a number that its retries repeat. Pushes to the same block are applied in the
 * order they were made. Memory that is pushed must stay unchanged until the push's future has
 * ended. A session is thread-safe. When more than {@link ClientOptions#maxInFlightBytes} bytes are
 * not acknowledged, a push waits.
 */
public final class Session implements AutoCloseable {
  private final ClusterConnection cluster;
  private final long id;
  private final int shards;
  private final BlockLanes blocks;
  private final RowLanes rows;
  private final TreeSet<Long> outstanding = new TreeSet<>();
  private final Map<Integer, Long> terms = new ConcurrentHashMap<>();
  private final Semaphore room;
  private final AtomicReference<@Nullable Throwable> firstFailure = new AtomicReference<>();
  private final GradientEncoder gradients = new GradientEncoder();
  private final LongAdder pushed = new LongAdder();
  private final LongAdder pushedAsF32 = new LongAdder();
  private final LongAdder pulled = new LongAdder();
  private long lastSeq;
  private CompletableFuture<?> all = CompletableFuture.completedFuture(null);
  private CompletableFuture<PushResult> lastGathered =
      CompletableFuture.completedFuture(PushResult.NOTHING);

  Session(ClusterConnection cluster, long id) {
    this.cluster = cluster;
    this.id = id;
    this.shards = cluster.map().getShardCount();
    this.blocks = new BlockLanes(this, cluster);
    this.rows = new RowLanes(this, cluster);
    this.room = new Semaphore(cluster.options().maxInFlightBytes(), true);
  }

  /** Its number, unique in the cluster. */
  public long id() {
    return id;
  }

  /** What is pushed to a shard counts on the memory of a leader, if the model is CHECKPOINTED. */
  void believe(int shard, long term) {
    terms.put(shard, term);
  }

  /**
   * The gradients of steps from now on are encoded so; at first they are f32. A step that was
   * refused is not in the residual any more: error feedback keeps what encoding left out, no more.
   */
  public void encodeGradients(GradientCodec codec) {
    gradients.use(codec);
  }

  /** What encodes gradients. */
  GradientEncoder gradients() {
    return gradients;
  }

  /** Bytes that this session has pushed and pulled. */
  public SessionTraffic traffic() {
    return new SessionTraffic(pushed.sum(), pushedAsF32.sum(), pulled.sum());
  }

  /** Pushes a whole tensor: its elements under a codec, row-major. */
  public CompletableFuture<PushResult> push(
      Parameter parameter, Operation operation, Codec codec, MemorySegment source) {
    List<BlockPart> parts = TensorParts.whole(parameter, codec, source);
    return send(parameter.model(), operation, parts, List.of(), Step.NONE);
  }

  /** Pushes a slice: its elements as f32, f16 or bf16, row-major. */
  public CompletableFuture<PushResult> push(
      Parameter parameter, Slice slice, Operation operation, Codec codec, MemorySegment source) {
    List<BlockPart> parts = TensorParts.slice(parameter, slice, codec, source);
    return send(parameter.model(), operation, parts, List.of(), Step.NONE);
  }

  /** Pushes whole blocks, of one parameter or of several. */
  public CompletableFuture<PushResult> pushBlocks(
      ModelHandle model, Operation operation, List<BlockPayload> blocks) {
    return send(model, operation, TensorParts.blocks(blocks), List.of(), Step.NONE);
  }

  /**
   * A gradient of an asynchronous model: f32 of several tensors, encoded as {@link
   * #encodeGradients} says. Step and rank are for people: the steps that are counted are those of a
   * {@link Worker}.
   *
   * @return ends when every shard has made the step
   */
  public CompletableFuture<PushResult> step(
      ModelHandle model, long step, int rank, Map<Parameter, MemorySegment> values) {
    Step of = Step.uncounted(step, rank, null);
    return send(model, Operation.GRADIENT, gradients.encode(values), List.of(), of);
  }

  /** The same, and brings the updated values back as f32 in the same round trip. */
  public CompletableFuture<PushResult> stepAndPull(
      ModelHandle model,
      long step,
      int rank,
      Map<Parameter, MemorySegment> values,
      Map<Parameter, MemorySegment> updated) {
    Step of = Step.uncounted(step, rank, into(model, updated));
    return send(model, Operation.GRADIENT, gradients.encode(values), List.of(), of);
  }

  /**
   * A step of the worker that this session is.
   *
   * @param updated takes the values afterwards; null: they are not sent
   */
  CompletableFuture<PushResult> workerStep(
      Worker worker,
      long step,
      Map<Parameter, MemorySegment> values,
      List<RowGradients> rowValues,
      @Nullable Map<Parameter, MemorySegment> updated) {
    TensorholdException wrong = PushCheck.wrong(worker.model(), rowValues);
    if (wrong != null) {
      return CompletableFuture.failedFuture(wrong);
    }
    List<RowMessage> messages = RowMessage.ofStep(rowValues, shards);
    Consumer<Frame<PushPullHeader>> target = updated == null ? null : into(worker.model(), updated);
    return send(
        worker.model(),
        Operation.GRADIENT,
        gradients.encode(values),
        messages,
        new Step(step, worker.rank(), true, worker.catalogIndex(), target));
  }

  private Consumer<Frame<PushPullHeader>> into(
      ModelHandle model, Map<Parameter, MemorySegment> updated) {
    UpdatedValues values = new UpdatedValues(model, updated);
    return frame -> {
      pulled.add(frame.payloadBytes());
      values.accept(frame);
    };
  }

  private CompletableFuture<PushResult> send(
      ModelHandle model,
      Operation operation,
      List<BlockPart> parts,
      List<RowMessage> ofRows,
      Step step) {
    SortedSet<Integer> everyShard = step.everyShard() ? model.shards(shards) : new TreeSet<>();
    int[] rowParts = RowMessage.count(ofRows, shards);
    List<PushPart> messages = PushPart.split(parts, shards, everyShard, rowParts);
    RowMessage.number(ofRows, messages, shards);
    TensorholdException wrong =
        messages.size() + ofRows.size() > 1 ? PushCheck.wrong(model, operation, parts) : null;
    if (wrong != null) {
      firstFailure.compareAndSet(null, wrong);
      return CompletableFuture.failedFuture(wrong);
    }
    for (BlockPart part : parts) {
      pushed.add(part.bytes());
      pushedAsF32.add(part.f32Bytes());
    }
    CompletableFuture<PushResult> result;
    if (step.everyShard() && GatheredFactors.needed(model)) {
      result = inTurn(() -> gathered(model, messages, step));
    } else {
      StepFactors own =
          operation == Operation.GRADIENT && !step.equals(Step.NONE)
              ? GatheredFactors.ofOneWorker(model, parts)
              : null;
      Supplier<CompletableFuture<PushResult>> all =
          () ->
              PushResult.all(
                  Stream.concat(
                          messages.stream()
                              .map(message -> sendOne(model, operation, message, step, own)),
                          ofRows.stream().map(message -> sendOne(message, step)))
                      .toList());
      // Rows and blocks go by different lanes: a step must not overtake the one before.
      result = step.everyShard() && !model.tables().isEmpty() ? inTurn(all) : all.get();
    }
    track(result);
    return result;
  }

  /** One after another, whatever becomes of them: a step is measured when those before are made. */
  private synchronized CompletableFuture<PushResult> inTurn(
      Supplier<CompletableFuture<PushResult>> step) {
    CompletableFuture<PushResult> result =
        lastGathered.thenComposeAsync(before -> step.get(), cluster.executor());
    lastGathered = result.exceptionally(failed -> PushResult.NOTHING);
    return result;
  }

  /** A step that ends when the sums of all shards have met. */
  private CompletableFuture<PushResult> gathered(
      ModelHandle model, List<PushPart> messages, Step step) {
    long guard;
    synchronized (this) {
      guard = ++lastSeq; // of no push: acked_below stays below the pushes of this step
      outstanding.add(guard);
    }
    GatheredFactors.Sender sender =
        (message, factors, again) ->
            blocks.send(model, Operation.GRADIENT, message, step, factors, again);
    return new GatheredFactors(model, messages, sender, cluster.executor())
        .run()
        .whenComplete(
            (done, failure) -> {
              synchronized (this) {
                outstanding.remove(guard);
              }
              if (failure != null) {
                firstFailure.compareAndSet(null, failure);
              }
            });
  }

  private CompletableFuture<PushResult> sendOne(
      ModelHandle model,
      Operation operation,
      PushPart message,
      Step step,
      @Nullable StepFactors factors) {
    return noted(
        blocks.send(model, operation, message, step, factors, false).thenApply(PushResult::of));
  }

  private CompletableFuture<PushResult> sendOne(RowMessage message, Step step) {
    return noted(rows.send(message, step));
  }

  /** Has {@link #flush} tell of its failure. */
  private CompletableFuture<PushResult> noted(CompletableFuture<PushResult> push) {
    return push.whenComplete(
        (done, failure) -> {
          if (failure != null) {
            firstFailure.compareAndSet(null, failure);
          }
        });
  }

  /** Numbers a push and hands it to its lane, when there is room. */
  <H extends Message> CompletableFuture<PushResponse> submit(
      PushLane<H> lane,
      ModelHandle model,
      int shard,
      long bytes,
      Consumer<Frame<PushPullHeader>> updated,
      LongFunction<LongFunction<Frame<H>>> numbered) {
    int permits = (int) Math.min(Math.max(1, bytes), cluster.options().maxInFlightBytes());
    room.acquireUninterruptibly(permits);
    CompletableFuture<PushResponse> done = new CompletableFuture<>();
    long seq;
    synchronized (this) {
      seq = ++lastSeq;
      outstanding.add(seq);
      lane.push(
          new PendingPush<>(seq, numbered.apply(seq), cluster.deadlineNanos(), updated, done));
    }
    return done.whenComplete(
        (ack, failure) -> {
          synchronized (this) {
            outstanding.remove(seq);
          }
          room.release(permits);
          if (failure == null && checkpointed(model)) {
            terms.put(shard, ack.getTerm());
          }
        });
  }

  private static boolean checkpointed(ModelHandle model) {
    return model.model().getSpec().getDurability() == Durability.CHECKPOINTED;
  }

  /**
   * Pushes rows of a table: for GRADIENT each makes one step of the table's optimizer. Values of a
   * key that comes several times are added up; for ASSIGN the last one counts. The arrays may be
   * used again when this returns.
   *
   * @param keys in any order
   * @param values f32, row after row in the order of the keys
   * @return ends when every shard has applied its part
   * @throws TensorholdException PAYLOAD_LENGTH if there are not as many values as the keys take
   */
  public CompletableFuture<PushResult> pushRows(
      Table table, Operation operation, long[] keys, float[] values) {
    return pushRows(RowBatch.messages(table, operation, keys, values, shards, false));
  }

  /**
   * Puts whole rows in the place of what there is: weights, optimizer state and steps, as {@link
   * TableScan#whole} gives them of a table of the same form. Of a key that comes several times the
   * last counts. Keys and rows may be used again when this returns.
   */
  public CompletableFuture<PushResult> restoreRows(Table table, long[] keys, MemorySegment rows) {
    return pushRows(RowBatch.whole(table, keys, rows, shards));
  }

  private CompletableFuture<PushResult> pushRows(List<RowMessage> messages) {
    CompletableFuture<PushResult> result =
        PushResult.all(messages.stream().map(message -> sendOne(message, Step.NONE)).toList());
    track(result);
    return result;
  }

  /** The term that a shard's leader last answered in, for a CHECKPOINTED model; else 0. */
  long term(ModelHandle model, int shard) {
    return checkpointed(model) ? terms.getOrDefault(shard, 0L) : 0;
  }

  /** Counts bytes of f32 that are pushed. */
  void countPushed(long bytes) {
    pushed.add(bytes);
    pushedAsF32.add(bytes);
  }

  /** Has {@link #flush} wait for a push. */
  private synchronized void track(CompletableFuture<PushResult> result) {
    all = all.thenCombine(result.exceptionally(e -> PushResult.NOTHING), (a, b) -> null);
  }

  synchronized long ackedBelow() {
    return outstanding.isEmpty() ? lastSeq + 1 : outstanding.first();
  }

  /** Ends the pushes whose deadline has passed, and leaves leaders that are none any more. */
  void sweep() {
    TensorholdException why = new TensorholdException("DEADLINE_EXCEEDED", "no answer came");
    blocks.sweep(why);
    rows.sweep(why);
  }

  /**
   * Waits for every push so far.
   *
   * @throws TensorholdException the first failure of any of them since the last flush
   */
  public void flush() {
    CompletableFuture<?> so;
    synchronized (this) {
      so = all;
      all = CompletableFuture.completedFuture(null);
    }
    so.join();
    Throwable failure = firstFailure.getAndSet(null);
    if (failure != null) {
      throw TensorholdException.of(
          failure instanceof CompletionException && failure.getCause() != null
              ? failure.getCause()
              : failure);
    }
  }

  @Override
  public void close() {
    blocks.close();
    rows.close();
  }
}
