package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.BlockRange;
import io.tensorhold.proto.v1.BlocksGrpc;
import io.tensorhold.proto.v1.CheckpointRequest;
import io.tensorhold.proto.v1.CheckpointResponse;
import io.tensorhold.proto.v1.ClusterGrpc;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.CreateModelRequest;
import io.tensorhold.proto.v1.DeleteModelRequest;
import io.tensorhold.proto.v1.DescribeModelRequest;
import io.tensorhold.proto.v1.GetServerStatusRequest;
import io.tensorhold.proto.v1.ListModelsRequest;
import io.tensorhold.proto.v1.ListModelsResponse;
import io.tensorhold.proto.v1.MeasureModelRequest;
import io.tensorhold.proto.v1.MeasureModelResponse;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.OpenSessionRequest;
import io.tensorhold.proto.v1.PublishModelRequest;
import io.tensorhold.proto.v1.RemoveServerRequest;
import io.tensorhold.proto.v1.Server;
import io.tensorhold.proto.v1.ServerStatus;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * A connection to a cluster: it knows its servers, follows its leaders, and repeats what is safe to
 * repeat until the deadline of its {@link ClientOptions}.
 *
 * <pre>{@code
 * try (TensorholdClient client = TensorholdClient.connect("db1:7070,db2:7070");
 *     Worker worker = client.joinModel("bert", rank, ranks)) {
 *   float[] weights = client.pullFloats(worker.model().parameter("pooler.dense.weight"));
 *   for (long step = worker.lastStep() + 1; step <= steps; step++) {
 *     worker.stepAndPull(step, gradients, updated).join();
 *   }
 * }
 * }</pre>
 *
 * <p>All methods throw {@link TensorholdException}. The client is thread-safe.
 */
public final class TensorholdClient implements AutoCloseable {
  private static final int STATUS_SECONDS = 60;

  private final ClusterConnection cluster;
  private final Reader leaders;
  private final List<Session> sessions = new CopyOnWriteArrayList<>();
  private final ScheduledExecutorService sweeper =
      Executors.newSingleThreadScheduledExecutor(
          Thread.ofPlatform().daemon().name("tensorhold-client").factory());

  private TensorholdClient(ClientOptions options) {
    this.cluster = new ClusterConnection(options);
    this.leaders = reader(Duration.ZERO);
    var _ = sweeper.scheduleWithFixedDelay(this::sweep, 250, 250, TimeUnit.MILLISECONDS);
  }

  private void sweep() {
    sessions.forEach(Session::sweep);
    cluster.sweep();
  }

  /** Connects to the cluster of any servers, {@code host:port} with commas between. */
  public static TensorholdClient connect(String servers) {
    return connect(new ClientOptions(List.of(servers.split("\\s*,\\s*", -1))));
  }

  /** Connects as the options say; fails if no server answers before the deadline. */
  public static TensorholdClient connect(ClientOptions options) {
    TensorholdClient client = new TensorholdClient(options);
    try {
      client.map();
      return client;
    } catch (RuntimeException e) {
      client.close();
      throw e;
    }
  }

  /** Creates a model that is READY at once, all zeros. */
  public ModelHandle create(ModelSpec spec) {
    return create(CreateModelRequest.newBuilder().setSpec(spec).build());
  }

  /**
   * Creates a model that others do not see until {@link #publish}.
   *
   * @param resume takes over a model of the same specification whose loading was cut off, and
   *     replaces one of another
   */
  public ModelHandle createLoading(ModelSpec spec, boolean resume) {
    return create(
        CreateModelRequest.newBuilder().setSpec(spec).setLoading(true).setResume(resume).build());
  }

  private ModelHandle create(CreateModelRequest request) {
    return new ModelHandle(cluster.catalog(stub -> stub.createModel(request)));
  }

  /** Makes a model visible that was being loaded. */
  public ModelHandle publish(ModelHandle loading) {
    return new ModelHandle(
        cluster.catalog(
            stub ->
                stub.publishModel(
                    PublishModelRequest.newBuilder().setModelId(loading.id()).build())));
  }

  /** The model of a name. */
  public ModelHandle model(String name) {
    return describe(name, false);
  }

  /** The model of a name, though it is still being loaded. */
  public ModelHandle loadingModel(String name) {
    return describe(name, true);
  }

  private ModelHandle describe(String name, boolean loading) {
    DescribeModelRequest request =
        DescribeModelRequest.newBuilder().setName(name).setLoading(loading).build();
    return new ModelHandle(cluster.catalog(stub -> stub.describeModel(request)));
  }

  /** Models whose names begin so, in order. */
  public List<ListModelsResponse.Entry> list(String prefix, boolean loading) {
    List<ListModelsResponse.Entry> models = new ArrayList<>();
    String after = "";
    while (true) {
      ListModelsRequest request =
          ListModelsRequest.newBuilder()
              .setPrefix(prefix)
              .setLoading(loading)
              .setAfter(after)
              .build();
      ListModelsResponse page = cluster.catalog(stub -> stub.listModels(request));
      models.addAll(page.getModelsList());
      if (!page.getMore()) {
        return models;
      }
      after = models.getLast().getName();
    }
  }

  /** Deletes a model; its space is freed in the background. */
  public void delete(String name, boolean loading) {
    DeleteModelRequest request =
        DeleteModelRequest.newBuilder().setName(name).setLoading(loading).build();
    cluster.catalog(stub -> stub.deleteModel(request));
  }

  /** The cluster's map, asked for now. */
  public ClusterMap map() {
    return cluster.wholeMap();
  }

  /**
   * Takes a server out of the cluster for good, whether it lives or not; the cluster's map then.
   * Another one takes its place, if there is one or as soon as one joins.
   */
  public ClusterMap removeServer(String serverId) {
    RemoveServerRequest request = RemoveServerRequest.newBuilder().setServerId(serverId).build();
    return cluster.cluster(stub -> stub.removeServer(request));
  }

  /** Status by server id; a server that does not answer is absent. */
  public Map<String, ServerStatus> status(boolean checksums) {
    GetServerStatusRequest request =
        GetServerStatusRequest.newBuilder().setChecksums(checksums).build();
    return eachServer(stub -> stub.getServerStatus(request));
  }

  /** What a model takes, by server id; a server that does not answer is absent. */
  public Map<String, MeasureModelResponse> measure(ModelHandle model) {
    MeasureModelRequest request = MeasureModelRequest.newBuilder().setModelId(model.id()).build();
    return eachServer(stub -> stub.measureModel(request));
  }

  private <T> Map<String, T> eachServer(Function<ClusterGrpc.ClusterBlockingStub, T> call) {
    Map<String, CompletableFuture<T>> asked = new LinkedHashMap<>();
    for (Server server : map().getServersList()) {
      asked.put(
          server.getId(),
          CompletableFuture.supplyAsync(
              () ->
                  call.apply(
                      ClusterGrpc.newBlockingStub(cluster.channel(server.getAddress()))
                          .withDeadlineAfter(STATUS_SECONDS, TimeUnit.SECONDS)),
              cluster.executor()));
    }
    Map<String, T> answers = new TreeMap<>();
    asked.forEach(
        (id, answer) -> {
          T value = answer.exceptionally(gone -> null).join();
          if (value != null) {
            answers.put(id, value);
          }
        });
    return answers;
  }

  /** Writes what changed of a CHECKPOINTED model to the logs of all shards. */
  public CheckpointTotals checkpoint(ModelHandle model) {
    int blocks = 0;
    long bytes = 0;
    for (int shard = 0; shard < cluster.map().getShardCount(); shard++) {
      CheckpointResponse done = checkpoint(model, shard);
      blocks += done.getBlocks();
      bytes += done.getBytes();
    }
    return new CheckpointTotals(blocks, bytes);
  }

  private CheckpointResponse checkpoint(ModelHandle model, int shard) {
    CheckpointRequest request =
        CheckpointRequest.newBuilder().setModelId(model.id()).setShard(shard).build();
    return cluster.shardLeader(
        shard,
        channel ->
            BlocksGrpc.newBlockingStub(channel)
                .withDeadlineAfter(cluster.options().deadline().toNanos(), TimeUnit.NANOSECONDS)
                .checkpoint(request));
  }

  /**
   * Opens a session for pushes that are no steps of a worker: ADD, ASSIGN, and gradients of
   * asynchronous models that nobody counts.
   *
   * @param label for people: host, process, job
   */
  public Session openSession(String label) {
    OpenSessionRequest request = OpenSessionRequest.newBuilder().setLabel(label).build();
    return session(cluster.catalog(stub -> stub.openSession(request)).getSession());
  }

  private Session session(long id) {
    Session session = new Session(cluster, id);
    sessions.add(session);
    return session;
  }

  /**
   * Registers this process as a worker of a model. A worker of the same rank that is still
   * registered is taken for this one before it was started again: nothing that it sent can be
   * applied any more when this returns.
   *
   * @param rank from 0
   * @param workers ranks of the model; checked against the model's own
   */
  public Worker joinModel(String model, int rank, int workers) {
    return joinModel(model, new JoinOptions(rank, workers));
  }

  /** Registers this process as a worker of a model; see {@link JoinOptions}. */
  public Worker joinModel(String model, JoinOptions options) {
    return Worker.join(cluster, model(model), options, this::session);
  }

  /**
   * Saves what error feedback has left out of a worker's gradients so far, as a model of its own:
   * {@code NAME.residual.rankN}, created when it is first needed. Call it between steps.
   */
  public void saveResidual(Worker worker) {
    Residual.save(this, worker);
  }

  /**
   * Gives a worker that joined again the residual that its rank saved last. Call it before its
   * first step, after {@link Session#encodeGradients}.
   *
   * @return false if none was ever saved
   */
  public boolean restoreResidual(Worker worker) {
    return Residual.restore(this, worker);
  }

  /** Who trains a model and how far each has come; a null model: all of them. */
  public TrainingView training(@Nullable ModelHandle model) {
    return TrainingView.ask(cluster, map(), model == null ? 0 : model.id());
  }

  /**
   * Pulls that any replica may answer whose state is at most so old: what was acknowledged earlier
   * before the call than that is in what they bring. One on this host is asked first, else all in
   * turn, and the leaders for what those can't bring. Values of a CHECKPOINTED model always come
   * from the leaders.
   *
   * @param maxStaleness in whole milliseconds; zero: only leaders are asked, and everything
   *     acknowledged is seen, as with this client's own pulls
   */
  public Reader reader(Duration maxStaleness) {
    return new Reader(cluster, maxStaleness);
  }

  /** See {@link Reader#pull(Parameter, Codec, MemorySegment)}. */
  public void pull(Parameter parameter, @Nullable Codec codec, MemorySegment target) {
    leaders.pull(parameter, codec, target);
  }

  /** See {@link Reader#pull(Parameter, Slice, Codec, MemorySegment)}. */
  public void pull(Parameter parameter, Slice slice, @Nullable Codec codec, MemorySegment target) {
    leaders.pull(parameter, slice, codec, target);
  }

  /** See {@link Reader#pullAsync}. */
  public CompletableFuture<Void> pullAsync(
      Parameter parameter, @Nullable Slice slice, @Nullable Codec codec, MemorySegment target) {
    return leaders.pullAsync(parameter, slice, codec, target);
  }

  /** See {@link Reader#pullFloats}. */
  public float[] pullFloats(Parameter parameter) {
    return leaders.pullFloats(parameter);
  }

  /**
   * Pulls rows of a table as f32. Any number of pulls may be under way; a key may come several
   * times. A row that was never written is what the table's initializer says, and is not created.
   *
   * @param keys in any order
   * @param target takes the rows in the order of the keys, one after another
   * @return ends when all are there; what is chained to it runs on a thread of the transport
   */
  public CompletableFuture<Void> pullRows(Table table, long[] keys, float[] target) {
    return new RowPull(cluster, table, keys, target, null).run();
  }

  /**
   * The same for rows that were written alone.
   *
   * @return positions among the keys of rows that never were; their part of {@code target} is as it
   *     was
   */
  public CompletableFuture<BitSet> pullWrittenRows(Table table, long[] keys, float[] target) {
    BitSet unseen = new BitSet(keys.length);
    return new RowPull(cluster, table, keys, target, unseen).run().thenApply(done -> unseen);
  }

  /** A walk over the rows of a table that were ever written. */
  public TableScan scan(Table table) {
    return new TableScan(cluster, table);
  }

  /** See {@link Reader#pullBlocks}. */
  public void pullBlocks(
      ModelHandle model, List<BlockRange> ranges, @Nullable Codec codec, BlockSink sink) {
    leaders.pullBlocks(model, ranges, codec, sink);
  }

  /** See {@link Reader#pullModel}. */
  public void pullModel(ModelHandle model, @Nullable Codec codec, BlockSink sink) {
    leaders.pullModel(model, codec, sink);
  }

  /** Consecutive blocks of a parameter, as {@link #pullBlocks} takes them. */
  public static BlockRange range(Parameter parameter, int first, int count) {
    return BlockRange.newBuilder()
        .setParameterId(parameter.id())
        .setFirst(first)
        .setCount(count)
        .build();
  }

  /** Addresses of the servers on this host that are reached over Unix domain sockets now. */
  public Set<String> localServers() {
    return cluster.localServers();
  }

  @Override
  public void close() {
    sweeper.shutdownNow();
    sessions.forEach(Session::close);
    cluster.close();
  }
}
