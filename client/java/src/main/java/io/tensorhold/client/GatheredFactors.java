package io.tensorhold.client;

import io.tensorhold.numerics.BlockSums;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Norms;
import io.tensorhold.proto.v1.Consistency;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.StepFactors;
import io.tensorhold.proto.v1.StepSums;
import io.tensorhold.wire.StepNeeds;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * A bulk synchronous step whose blocks need to know the norms of all: the sums of all shards meet
 * here, and go back as the step's factors. The protocol is that of StepSums in data.proto.
 *
 * <p>Every rank does this for itself and comes to the same factors; those that the first message's
 * shard has logged first count. Where a shard says that it has made its part already, before a
 * crash, its factors are taken for the others.
 */
final class GatheredFactors {
  private final ModelHandle model;
  private final StepNeeds needs;
  private final List<PushPart> messages;
  private final Sender sender;
  private final Executor executor;
  private final PushResponse[] answers;

  /** Sends one message of the step. */
  interface Sender {
    /** Sends it; {@code again}: without its payload, which was sent before. */
    CompletableFuture<PushResponse> send(
        PushPart message, @Nullable StepFactors factors, boolean again);
  }

  GatheredFactors(ModelHandle model, List<PushPart> messages, Sender sender, Executor executor) {
    this.model = model;
    this.needs = StepNeeds.of(model.model().getSpec());
    this.messages = messages;
    this.sender = sender;
    this.executor = executor;
    this.answers = new PushResponse[messages.size()];
  }

  /** Whether the steps of a model's workers are made so. */
  static boolean needed(ModelHandle model) {
    ModelSpec spec = model.model().getSpec();
    return spec.getConsistency() == Consistency.BSP && StepNeeds.of(spec).any();
  }

  /** Ends when every shard has made its part. */
  CompletableFuture<PushResult> run() {
    return send(all(), null, false).thenComposeAsync(sent -> next(), executor);
  }

  private List<Integer> all() {
    List<Integer> all = new ArrayList<>();
    for (int i = 0; i < messages.size(); i++) {
      all.add(i);
    }
    return all;
  }

  private CompletableFuture<?> send(
      List<Integer> which, @Nullable StepFactors factors, boolean again) {
    return CompletableFuture.allOf(
        which.stream()
            .map(i -> send(i, factors, again).thenAccept(answer -> answers[i] = answer))
            .toArray(CompletableFuture[]::new));
  }

  /** Sends a message; whole, if the shard has a new leader that does not know it. */
  private CompletableFuture<PushResponse> send(
      int i, @Nullable StepFactors factors, boolean again) {
    CompletableFuture<PushResponse> sent = sender.send(messages.get(i), factors, again);
    return !again
        ? sent
        : sent.exceptionallyComposeAsync(
            failure ->
                unknown(failure)
                    ? sender.send(messages.get(i), factors, false)
                    : CompletableFuture.failedFuture(failure),
            executor);
  }

  private static boolean unknown(Throwable failure) {
    Throwable cause = failure instanceof CompletionException ? failure.getCause() : failure;
    return cause instanceof TensorholdException known && known.reason().equals("STEP_UNKNOWN");
  }

  /** What follows from the answers: done, or a message to those that wait for factors. */
  private CompletableFuture<PushResult> next() {
    List<Integer> waiting = all().stream().filter(i -> answers[i].hasSums()).toList();
    if (waiting.isEmpty()) {
      PushResult sum = PushResult.NOTHING;
      for (PushResponse answer : answers) {
        sum = sum.plus(PushResult.of(answer));
      }
      return CompletableFuture.completedFuture(sum);
    }
    CompletableFuture<?> sent;
    if (waiting.size() < answers.length) {
      sent = send(waiting, made(), true);
    } else {
      List<BlockSums> sums = sums();
      float scale =
          needs.scale()
              ? Norms.clipCoefficient(
                  BlockSums.total(sums, BlockSums::gradient),
                  model.model().getSpec().getOptimizer().getClipNorm())
              : 1;
      requireNumber("gradient", scale);
      StepFactors.Builder factors = StepFactors.newBuilder().setGradientScale(scale);
      List<Integer> otherwise =
          waiting.stream().filter(i -> answers[i].getSums().getGradientScale() != scale).toList();
      if (needs.trust() && !otherwise.isEmpty()) {
        sent = send(otherwise, factors.build(), true);
      } else {
        addTrust(factors, sums);
        sent = send(List.of(0), factors.build(), true);
      }
    }
    return sent.thenComposeAsync(answered -> next(), executor);
  }

  /** The factors of the parts that were made. */
  private StepFactors made() {
    for (PushResponse answer : answers) {
      if (answer.hasFactors()) {
        return answer.getFactors();
      }
    }
    throw new TensorholdException(
        "STEP_CLOSED",
        "the step is long past on some shards and not made on others: join again, and go on after"
            + " the last step");
  }

  private List<BlockSums> sums() {
    List<BlockSums> all = new ArrayList<>();
    for (int i = 0; i < answers.length; i++) {
      StepSums sums = answers[i].getSums();
      List<BlockPart> blocks = messages.get(i).blocks();
      for (int j = 0; j < blocks.size(); j++) {
        BlockPart block = blocks.get(j);
        double weights = needs.trust() ? sums.getWeights(j) : 0;
        double directions = needs.trust() ? sums.getDirections(j) : 0;
        all.add(
            new BlockSums(
                block.parameter().id(), block.block(), sums.getGradient(j), weights, directions));
      }
    }
    return all;
  }

  private void addTrust(StepFactors.Builder factors, List<BlockSums> sums) {
    if (!needs.trust()) {
      return;
    }
    Map<Long, List<BlockSums>> byParameter =
        sums.stream().collect(Collectors.groupingBy(BlockSums::parameter));
    for (Parameter parameter : model.parameters()) {
      List<BlockSums> own = byParameter.getOrDefault(parameter.id(), List.of());
      double weights = BlockSums.total(own, BlockSums::weights);
      float ratio = Norms.trustRatio(weights, BlockSums.total(own, BlockSums::direction));
      requireNumber(parameter.name(), ratio);
      factors.addTrust(ratio);
    }
  }

  private static void requireNumber(String what, float factor) {
    if (!Float.isFinite(factor)) {
      throw new TensorholdException(
          "NONFINITE",
          "a norm of the step (%s) is NaN or infinite, and so nothing was made of it: join again and send another gradient"
              .formatted(what));
    }
  }

  /**
   * The factors of a gradient that waits for no other worker's; null if the model takes none. The
   * gradient is clipped as the server would, after it has decoded it.
   */
  static @Nullable StepFactors ofOneWorker(ModelHandle model, List<BlockPart> parts) {
    ModelSpec spec = model.model().getSpec();
    double limit = spec.getOptimizer().getClipNorm();
    if (limit == 0 || spec.getConsistency() == Consistency.BSP) {
      return null;
    }
    List<BlockSums> sums = parts.stream().map(GatheredFactors::ownSums).toList();
    float scale = Norms.clipCoefficient(BlockSums.total(sums, BlockSums::gradient), limit);
    requireNumber("gradient", scale);
    return StepFactors.newBuilder().setGradientScale(scale).build();
  }

  private static BlockSums ownSums(BlockPart part) {
    Parameter parameter = part.parameter();
    MemorySegment sent = MemorySegment.ofArray(new byte[Math.toIntExact(part.bytes())]);
    long at = 0;
    for (MemorySegment piece : part.pieces()) {
      MemorySegment.copy(piece, 0, sent, at, piece.byteSize());
      at += piece.byteSize();
    }
    int count = part.elements();
    MemorySegment values = MemorySegment.ofArray(new byte[4 * count]);
    part.codec().decode(Kernels.best(), sent, 0, values, 0, count);
    Norms.clip(Kernels.best(), parameter.clipValue(), values, 0, count);
    double squares = Norms.sumOfSquares(Kernels.best(), values, 0, count);
    return new BlockSums(parameter.id(), part.block(), squares, 0, 0);
  }
}
