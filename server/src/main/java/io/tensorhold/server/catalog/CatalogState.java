package io.tensorhold.server.catalog;

import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.CreateModelRequest;
import io.tensorhold.proto.v1.DeleteModelRequest;
import io.tensorhold.proto.v1.JoinModelRequest;
import io.tensorhold.proto.v1.JoinModelResponse;
import io.tensorhold.proto.v1.ListModelsRequest;
import io.tensorhold.proto.v1.ListModelsResponse;
import io.tensorhold.proto.v1.Model;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.ModelState;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.WorkerSession;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import io.tensorhold.server.catalog.log.CatalogSnapshot;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The catalog's replicated state: the cluster, its servers, the models, and the numbers given out.
 *
 * <p>It is small and lives in memory whole; {@link #apply} depends on it and the command alone.
 * Methods are atomic to each other.
 */
public final class CatalogState {
  private static final int FORMAT = 1;
  private static final int LIST_LIMIT = 1000;

  private final ClusterMembers members = new ClusterMembers();
  private final TreeMap<String, Long> names = new TreeMap<>();
  private final Map<Long, Model> models = new HashMap<>();
  private final WorkerSessions workers = new WorkerSessions();
  private long lastModel;
  private long lastParameter;
  private long lastSession;
  private long term;
  private long index = -1;

  /** Applies a command of the log; a refusal is part of the reply and changes nothing. */
  public synchronized CatalogReply apply(long atTerm, long atIndex, CatalogCommand command) {
    CatalogReply.Builder reply = CatalogReply.newBuilder();
    if (atIndex <= index) {
      return reply.build();
    }
    advance(atTerm, atIndex);
    try {
      switch (command.getCommandCase()) {
        case FOUND -> members.found(command.getFound(), index);
        case CREATE -> reply.setModel(create(command.getCreate()));
        case PUBLISH -> reply.setModel(publish(command.getPublish().getModelId()));
        case DELETE -> reply.setId(delete(command.getDelete()));
        case FREED -> models.remove(command.getFreed().getModelId());
        case JOIN_MODEL -> reply.setJoined(join(command.getJoinModel()));
        case END_SESSION -> workers.end(command.getEndSession().getSession());
        case OPEN_SESSION -> reply.setId(++lastSession);
        case JOIN -> members.join(command.getJoin(), index);
        case PLACE -> members.place(command.getPlace().getReplicasList(), index);
        case REPLACE ->
            members.replace(
                command.getReplace().getFormer(), command.getReplace().getServer(), index);
        case REMOVE -> members.remove(command.getRemove().getServerId(), index);
        case COMMAND_NOT_SET ->
            throw new Refusal(Reason.REQUEST_INVALID, "an unknown command in the catalog's log");
      }
    } catch (Refusal e) {
      reply
          .clear()
          .getRefusedBuilder()
          .setReason(e.reason().name())
          .setMessage(e.text())
          .putAllDetails(e.details());
    }
    return reply.build();
  }

  /** Notes an entry without a command. */
  public synchronized void advance(long atTerm, long atIndex) {
    if (atIndex > index) {
      term = atTerm;
      index = atIndex;
    }
  }

  private Model create(CreateModelRequest request) {
    ModelSpec spec = ModelCheck.complete(request.getSpec());
    Long id = names.get(spec.getName());
    Model existing = id == null ? null : models.get(id);
    if (existing != null) {
      boolean replaceable =
          request.getLoading() && request.getResume() && existing.getState() == ModelState.LOADING;
      if (!replaceable) {
        throw new Refusal(
            Reason.MODEL_EXISTS,
            "a model named %s exists%s: choose another name, or delete it first"
                .formatted(
                    ModelCheck.quote(spec.getName()),
                    (existing.getState() == ModelState.LOADING ? " and is being loaded" : "")
                        + TableCheck.difference(existing.getSpec(), spec)),
            "model",
            spec.getName());
      }
      if (withoutIds(existing.getSpec()).equals(withoutIds(spec))) {
        return existing;
      }
      models.put(id, existing.toBuilder().setState(ModelState.DELETING).build());
      workers.endAllOf(id);
    }
    ModelSpec.Builder numbered = spec.toBuilder();
    for (int i = 0; i < spec.getParametersCount(); i++) {
      numbered.setParameters(i, spec.getParameters(i).toBuilder().setId(++lastParameter));
    }
    Model model =
        Model.newBuilder()
            .setId(++lastModel)
            .setSpec(numbered)
            .setState(request.getLoading() ? ModelState.LOADING : ModelState.READY)
            .setCatalogIndex(index)
            .build();
    names.put(spec.getName(), model.getId());
    models.put(model.getId(), model);
    return model;
  }

  private static ModelSpec withoutIds(ModelSpec spec) {
    ModelSpec.Builder plain = spec.toBuilder();
    for (ParameterSpec.Builder parameter : plain.getParametersBuilderList()) {
      parameter.clearId();
    }
    return plain.build();
  }

  private Model publish(long id) {
    Model model = models.get(id);
    if (model == null || model.getState() == ModelState.DELETING) {
      throw unknown("id " + id);
    }
    if (model.getState() == ModelState.LOADING) {
      model = model.toBuilder().setState(ModelState.READY).setCatalogIndex(index).build();
      models.put(id, model);
    }
    return model;
  }

  private long delete(DeleteModelRequest request) {
    Model model = find(request.getName(), request.getLoading());
    names.remove(request.getName());
    models.put(model.getId(), model.toBuilder().setState(ModelState.DELETING).build());
    workers.endAllOf(model.getId());
    return model.getId();
  }

  private JoinModelResponse join(JoinModelRequest request) {
    Model model = models.get(request.getModelId());
    if (model == null || model.getState() != ModelState.READY) {
      throw unknown("id " + Long.toUnsignedString(request.getModelId()));
    }
    WorkerSession worker = workers.repeated(request);
    if (worker == null) {
      worker = workers.join(request, model, lastSession + 1);
      lastSession++;
    }
    return JoinModelResponse.newBuilder()
        .setSession(worker.getSession())
        .setRank(worker.getRank())
        .setWorkers(model.getSpec().getWorkers())
        .setLeaseMs(worker.getLeaseMs())
        .setCatalogIndex(index)
        .build();
  }

  /**
   * The model of a name.
   *
   * @throws Refusal MODEL_UNKNOWN if there is none, or it is still LOADING and not asked for so
   */
  public synchronized Model find(String name, boolean loading) {
    Long id = names.get(name);
    Model model = id == null ? null : models.get(id);
    if (model == null) {
      throw unknown("the name " + ModelCheck.quote(name));
    }
    if (model.getState() == ModelState.LOADING && !loading) {
      throw new Refusal(
          Reason.MODEL_UNKNOWN,
          "the model %s is still being loaded".formatted(ModelCheck.quote(name)),
          "model",
          name,
          "state",
          "LOADING");
    }
    return model;
  }

  private static Refusal unknown(String what) {
    return new Refusal(Reason.MODEL_UNKNOWN, "no model has " + what, "model", what);
  }

  /** The model of an id, in whatever state; null if there is none. */
  public synchronized @Nullable Model byId(long id) {
    return models.get(id);
  }

  /** A page of the list of models. */
  public synchronized ListModelsResponse list(ListModelsRequest request) {
    int limit = request.getLimit() == 0 ? LIST_LIMIT : Math.min(LIST_LIMIT, request.getLimit());
    ListModelsResponse.Builder page = ListModelsResponse.newBuilder();
    SortedMap<String, Long> rest =
        request.getAfter().isEmpty()
            ? names.tailMap(request.getPrefix(), true)
            : names.tailMap(request.getAfter(), false);
    for (Map.Entry<String, Long> entry : rest.entrySet()) {
      Model model = models.get(entry.getValue());
      if (!entry.getKey().startsWith(request.getPrefix())) {
        if (entry.getKey().compareTo(request.getPrefix()) > 0) {
          break;
        }
      } else if (model.getState() == ModelState.READY || request.getLoading()) {
        if (page.getModelsCount() == limit) {
          return page.setMore(true).build();
        }
        page.addModels(ModelSizes.entry(model));
      }
    }
    return page.build();
  }

  /** Whether a session of this number was ever opened. */
  public synchronized boolean hasSession(long session) {
    return session != 0 && Long.compareUnsigned(session, lastSession) <= 0;
  }

  /** The live worker with a session's number; null if there is none. */
  public synchronized @Nullable WorkerSession worker(long session) {
    return workers.live(session);
  }

  /** Whether a session was a worker's, and ended not too long ago. */
  public synchronized boolean ended(long session) {
    return workers.ended(session);
  }

  /** Live workers of a model, by rank. */
  public synchronized Map<Integer, WorkerSession> workers(long modelId) {
    return workers.ranks(modelId);
  }

  /** All live workers. */
  public synchronized Collection<WorkerSession> workers() {
    return workers.all();
  }

  /** Models whose blocks are to be freed. */
  public synchronized List<Model> deleting() {
    return models.values().stream().filter(m -> m.getState() == ModelState.DELETING).toList();
  }

  /** Models that can be trained. */
  public synchronized List<Model> ready() {
    return models.values().stream().filter(m -> m.getState() == ModelState.READY).toList();
  }

  /** The map of the cluster, without leaders; its cluster id is empty before the first command. */
  public synchronized ClusterMap map() {
    return members.map();
  }

  /** Index of the last entry applied; −1 before the first. */
  public synchronized long appliedIndex() {
    return index;
  }

  /** Everything, as of one index. */
  public synchronized CatalogSnapshot snapshot() {
    CatalogSnapshot.Builder snapshot = CatalogSnapshot.newBuilder();
    workers.write(snapshot);
    members.write(snapshot);
    return snapshot
        .setFormat(FORMAT)
        .setTerm(term)
        .setIndex(index)
        .addAllModels(new TreeMap<>(models).values())
        .setLastModel(lastModel)
        .setLastParameter(lastParameter)
        .setLastSession(lastSession)
        .build();
  }

  /** Becomes what a snapshot says. */
  public synchronized void restore(CatalogSnapshot snapshot) {
    if (snapshot.getFormat() != FORMAT) {
      throw new IllegalStateException(
          "catalog snapshot: format=%d known=%d; a newer Tensorhold wrote it"
              .formatted(snapshot.getFormat(), FORMAT));
    }
    members.restore(snapshot);
    names.clear();
    models.clear();
    for (Model model : snapshot.getModelsList()) {
      models.put(model.getId(), model);
      if (model.getState() != ModelState.DELETING) {
        names.put(model.getSpec().getName(), model.getId());
      }
    }
    workers.restore(snapshot);
    lastModel = snapshot.getLastModel();
    lastParameter = snapshot.getLastParameter();
    lastSession = snapshot.getLastSession();
    term = snapshot.getTerm();
    index = snapshot.getIndex();
  }
}
