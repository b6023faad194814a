package io.tensorhold.server.training;

import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Leadership;
import io.tensorhold.server.shard.Outcome;
import java.util.concurrent.CompletionException;
import org.jspecify.annotations.Nullable;

/** What a shard's outcome of a push says to people and programs. */
final class Refusals {
  private Refusals() {}

  static Refusal notLeader(Leadership leadership) {
    return new Refusal(
        Reason.NOT_LEADER,
        "this server does not lead the shard",
        "leader-id",
        leadership.leader() == null ? "" : leadership.leader());
  }

  static Refusal fenced() {
    return new Refusal(
        Reason.SESSION_EXPIRED,
        "a newer session holds this rank: the worker was started again, or two have the same rank");
  }

  static Refusal conflict() {
    return new Refusal(
        Reason.STEP_CONFLICT,
        "this session has pushed the same part of the same step with other bytes; the first ones"
            + " count");
  }

  static Refusal unknownStep() {
    return new Refusal(
        Reason.STEP_UNKNOWN,
        "the shard's leader has no such push of this rank and step: it is a new one, or the push was"
            + " replaced; send it again whole, with the factors");
  }

  /** Whether the log refused a step for one of its ranks, which says nothing of the others. */
  static boolean ofOneRank(Throwable failure) {
    Throwable cause = failure instanceof CompletionException ? failure.getCause() : failure;
    return cause instanceof Refusal refusal
        && switch (refusal.reason()) {
          case SESSION_EXPIRED, STEP_CLOSED, STEP_CONFLICT, REQUEST_INVALID -> true;
          default -> false;
        };
  }

  /** The refusal of a push; null if it was applied, now or before. */
  static @Nullable Refusal of(Outcome outcome) {
    return switch (outcome) {
      case APPLIED, DUPLICATE -> null;
      case EXPIRED ->
          new Refusal(
              Reason.SESSION_EXPIRED,
              "the shard has forgotten this session, because %d others pushed since: open a new one"
                  .formatted(Limits.SESSIONS),
              "limit-name",
              "sessions",
              "limit",
              Limits.SESSIONS);
      case WINDOW_FULL ->
          new Refusal(
              Reason.LIMIT,
              "the session has %d pushes above acked_below: acknowledge them by raising it"
                  .formatted(Limits.SESSION_WINDOW),
              "limit-name",
              "session-window",
              "limit",
              Limits.SESSION_WINDOW);
      case INVALID ->
          new Refusal(Reason.MODEL_UNKNOWN, "the model was deleted while the push was under way");
      case FENCED -> fenced();
      case CLOSED ->
          new Refusal(
              Reason.STEP_CLOSED,
              "the step was made without this push, or is long past: pull, and go on with the next");
      case CONFLICT -> conflict();
      case UNFINISHED ->
          new Refusal(
              Reason.REQUEST_INVALID,
              "an earlier step of this rank lacks parts on this shard, or the step has another"
                  + " number of parts than before: finish it first");
    };
  }
}
