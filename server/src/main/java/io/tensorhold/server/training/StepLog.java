package io.tensorhold.server.training;

import io.tensorhold.numerics.BlockSums;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.RankStep;
import io.tensorhold.server.shard.StepFactors;
import io.tensorhold.server.shard.StepMark;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/** What the gates need of a shard: its log and what its state says of steps. */
interface StepLog {
  /** Appends a push; fails with a {@link io.tensorhold.server.base.Refusal}. */
  CompletableFuture<PushDone> append(
      StepMark mark, PushCommand push, Set<ParameterRecord> parameters);

  /** What stands against a push now; null: nothing. */
  @Nullable Outcome objection(StepMark mark, PushCommand push);

  /** How far the ranks of a model have come. */
  Map<Integer, RankStep> ranks(long model);

  /** The sums that a push of gradients needs its factors from, under those that it has. */
  List<BlockSums> measure(PushCommand push, Set<ParameterRecord> parameters);

  /** What a part of a model's latest step was made with; null: of another, or there are none. */
  @Nullable StepFactors factors(long model, long step);
}
