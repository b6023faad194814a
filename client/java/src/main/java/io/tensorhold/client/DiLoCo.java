package io.tensorhold.client;

import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * Training with little on the wire: a worker makes many steps of an optimizer of its own, and sends
 * how far it has come instead of gradients. Douillard et al., "DiLoCo", 2023; in fragments, one
 * after the other, "Streaming DiLoCo", 2025.
 *
 * <p>The parameters are cut into F fragments. After every H / F inner steps the next fragment's
 * pseudo-gradient, its values when they were last received minus its values now, is pushed as a
 * step of the worker; so each fragment is sent every H inner steps. The model is BSP, and its
 * optimizer is the outer one: sgd with momentum 0.9, nesterov and lr 0.7 in the paper. The new
 * values are taken over {@code overlap} inner steps later, and what this worker did to the fragment
 * meanwhile is added to them: no inner step waits for the network unless an answer is later than
 * that. (The paper mixes the two instead.)
 *
 * <p>All workers have the same H, F and overlap. A worker that joined again begins with the
 * fragment that is due. Pseudo-gradients are encoded as {@link Session#encodeGradients} says: q4_0
 * with error feedback serves well.
 *
 * <pre>{@code
 * DiLoCo outer = new DiLoCo(worker, fragments, values, 100, 5);
 * for (int i = 0; i < steps; i++) {
 *   innerStep(values);
 *   outer.afterInnerStep();
 * }
 * outer.finish();
 * }</pre>
 *
 * <p>For one thread.
 */
public final class DiLoCo {
  private final Worker worker;
  private final List<List<Parameter>> fragments;
  private final Map<Parameter, float[]> values;
  private final Map<Parameter, float[]> received = new HashMap<>();
  private final int interval;
  private final int overlap;
  private long innerSteps;
  private long outerSteps;
  private @Nullable Sent sent;

  /** A fragment under way. */
  private record Sent(
      List<Parameter> fragment,
      Map<Parameter, float[]> then,
      Map<Parameter, float[]> updated,
      CompletableFuture<PushResult> answer) {}

  /**
   * Begins with values that were just pulled.
   *
   * @param fragments parameters that are sent together; H is a multiple of their number
   * @param values that the inner steps change, of all parameters of all fragments
   * @param innerSteps H, between two sends of a fragment
   * @param overlap inner steps from a fragment's sending to its values being taken over; 0: it is
   *     waited for. Less than H / F
   */
  public DiLoCo(
      Worker worker,
      List<List<Parameter>> fragments,
      Map<Parameter, float[]> values,
      int innerSteps,
      int overlap) {
    int count = fragments.size();
    if (count == 0 || innerSteps < count || innerSteps % count != 0) {
      throw new IllegalArgumentException(
          "inner steps: value=%d allowed=multiples of the %d fragments"
              .formatted(innerSteps, count));
    }
    if (overlap < 0 || overlap >= innerSteps / count) {
      throw new IllegalArgumentException(
          "overlap: value=%d allowed=0..%d".formatted(overlap, innerSteps / count - 1));
    }
    this.worker = worker;
    this.fragments = List.copyOf(fragments);
    this.values = Map.copyOf(values);
    this.interval = innerSteps / count;
    this.overlap = overlap;
    this.outerSteps = worker.lastStep();
    for (List<Parameter> fragment : fragments) {
      for (Parameter parameter : fragment) {
        received.put(parameter, valuesOf(parameter).clone());
      }
    }
  }

  private float[] valuesOf(Parameter parameter) {
    float[] own = values.get(parameter);
    if (own == null || own.length != parameter.elements()) {
      throw new IllegalArgumentException(
          "values of %s: value=%s allowed=%d elements"
              .formatted(parameter, own == null ? "none" : own.length, parameter.elements()));
    }
    return own;
  }

  /**
   * To be called after every inner step: sends a fragment if one is due, and takes over one that
   * was sent {@code overlap} steps ago.
   *
   * @throws TensorholdException why an outer step failed, as {@link Worker#step} says
   */
  public void afterInnerStep() {
    innerSteps++;
    if (innerSteps % interval == 0) {
      send();
    }
    if (sent != null && innerSteps % interval == overlap) {
      takeOver(sent);
    }
  }

  /** Outer steps of this worker so far, over all its lives. */
  public long outerSteps() {
    return outerSteps;
  }

  /** Waits for the fragment that is under way, and takes it over. */
  public void finish() {
    if (sent != null) {
      takeOver(sent);
    }
  }

  private void send() {
    List<Parameter> fragment = fragments.get((int) (outerSteps % fragments.size()));
    Map<Parameter, MemorySegment> gradients = new HashMap<>();
    Map<Parameter, MemorySegment> targets = new HashMap<>();
    Map<Parameter, float[]> then = new HashMap<>();
    Map<Parameter, float[]> updated = new HashMap<>();
    for (Parameter parameter : fragment) {
      float[] now = valuesOf(parameter).clone();
      float[] old = received.get(parameter);
      float[] gradient = new float[now.length];
      for (int i = 0; i < now.length; i++) {
        gradient[i] = old[i] - now[i];
      }
      float[] target = new float[now.length];
      then.put(parameter, now);
      updated.put(parameter, target);
      gradients.put(parameter, MemorySegment.ofArray(gradient));
      targets.put(parameter, MemorySegment.ofArray(target));
    }
    outerSteps++;
    sent = new Sent(fragment, then, updated, worker.stepAndPull(outerSteps, gradients, targets));
  }

  private void takeOver(Sent done) {
    try {
      done.answer.join();
    } catch (java.util.concurrent.CompletionException e) {
      throw TensorholdException.of(e.getCause() == null ? e : e.getCause());
    }
    for (Parameter parameter : done.fragment) {
      float[] own = valuesOf(parameter);
      float[] then = done.then.get(parameter);
      float[] updated = done.updated.get(parameter);
      for (int i = 0; i < own.length; i++) {
        own[i] = updated[i] + (own[i] - then[i]);
      }
      received.put(parameter, updated);
    }
    sent = null;
  }
}
