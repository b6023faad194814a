package io.tensorhold.server.training;

import io.tensorhold.server.base.Limits;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.raft.Appended;
import io.tensorhold.server.raft.ShardLog;
import io.tensorhold.server.shard.Entry;
import io.tensorhold.server.shard.EntryBytes;
import io.tensorhold.server.shard.Outcome;
import io.tensorhold.server.shard.ParameterRecord;
import io.tensorhold.server.shard.PushCommand;
import io.tensorhold.server.shard.ShardMachine;
import io.tensorhold.server.shard.StepMark;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.jspecify.annotations.Nullable;

/**
 * Pushes on their way to the log of one shard: in the order they came, many small ones in one
 * entry.
 *
 * <p>While entries are being replicated, pushes gather; the next entry takes what has gathered, up
 * to {@link Limits#ENTRY_TARGET_BYTES}. So a lone push waits for nobody, and under load the log's
 * cost is shared. When an entry fails, everything behind it fails too: a later push must not
 * overtake an earlier one of the same stream.
 */
public final class PushQueue {
  /** Entries that are being replicated at once: enough to keep the disk and the followers busy. */
  private static final int ENTRIES_IN_FLIGHT = 4;

  private final ShardLog log;
  private final ArrayDeque<Waiting> waiting = new ArrayDeque<>();
  private int inFlight;
  private boolean sending;

  private record Waiting(
      EntryBytes command,
      Set<ParameterRecord> parameters,
      long touched,
      CompletableFuture<PushDone> done) {}

  private record Batch(List<EntryBytes> commands, List<Waiting> pushes) {}

  /** The queue of a shard. */
  public PushQueue(ShardLog log) {
    this.log = log;
  }

  /**
   * Queues a push.
   *
   * @param parameters of its parts: the log introduces those that the shard does not know yet
   * @return ends when it is acknowledged as the log promises, or fails with a {@link Refusal}
   */
  public CompletableFuture<PushDone> push(PushCommand push, Set<ParameterRecord> parameters) {
    return command(EntryBytes.push(push), parameters, touched(push, parameters));
  }

  /** Queues a push that is a part of a step; otherwise as {@link #push}. */
  CompletableFuture<PushDone> step(
      StepMark mark, PushCommand push, Set<ParameterRecord> parameters) {
    return command(EntryBytes.step(mark, push), parameters, touched(push, parameters));
  }

  private static long touched(PushCommand push, Set<ParameterRecord> parameters) {
    long touched = 0;
    for (PushCommand.Part part : push.parts()) {
      for (ParameterRecord parameter : parameters) {
        if (parameter.id() == part.parameter()) {
          touched += parameter.blockBytes(part.block());
        }
      }
    }
    return touched;
  }

  /** Queues an entry of one command; it may be joined with others. */
  public CompletableFuture<PushDone> command(
      byte[] command, Set<ParameterRecord> parameters, long touched) {
    return command(EntryBytes.of(command), parameters, touched);
  }

  private CompletableFuture<PushDone> command(
      EntryBytes command, Set<ParameterRecord> parameters, long touched) {
    Waiting push = new Waiting(command, parameters, touched, new CompletableFuture<>());
    synchronized (this) {
      waiting.add(push);
    }
    send();
    return push.done;
  }

  /** One thread at a time forms entries and appends them: their order is the order of the log. */
  private void send() {
    while (true) {
      Batch batch;
      synchronized (this) {
        if (sending || waiting.isEmpty() || inFlight == ENTRIES_IN_FLIGHT) {
          return;
        }
        sending = true;
        inFlight++;
        batch = gather();
      }
      CompletableFuture<Appended> appended;
      try {
        appended = append(batch);
      } catch (RuntimeException e) {
        appended = CompletableFuture.failedFuture(e);
      }
      synchronized (this) {
        sending = false;
      }
      var _ = appended.whenComplete((done, failure) -> end(batch, done, failure));
    }
  }

  private Batch gather() {
    List<EntryBytes> commands = new ArrayList<>();
    List<Waiting> pushes = new ArrayList<>();
    long bytes = 1;
    long touched = 0;
    while (!waiting.isEmpty()) {
      Waiting next = waiting.peek();
      if (!pushes.isEmpty()
          && (bytes + next.command.size() > Limits.ENTRY_TARGET_BYTES
              || touched + next.touched > Limits.TOUCHED_BYTES)) {
        break;
      }
      waiting.remove();
      pushes.add(next);
      commands.add(next.command);
      bytes += next.command.size();
      touched += next.touched;
    }
    return new Batch(commands, pushes);
  }

  private CompletableFuture<Appended> append(Batch batch) {
    ShardMachine machine = log.machine();
    Set<ParameterRecord> unknown = new LinkedHashSet<>();
    for (Waiting push : batch.pushes) {
      for (ParameterRecord parameter : push.parameters) {
        if (machine.parameter(parameter.id()) == null) {
          unknown.add(parameter);
        }
      }
    }
    List<EntryBytes> commands = new ArrayList<>(batch.commands);
    for (ParameterRecord parameter : unknown) {
      commands.addFirst(EntryBytes.of(Entry.register(parameter)));
    }
    EntryBytes entry = EntryBytes.join(commands);
    if (entry.size() > Limits.ENTRY_BYTES) {
      entry.release();
      throw new Refusal(
          Reason.LIMIT,
          "a push makes a log entry of %d bytes, limit=%d: send fewer blocks at once"
              .formatted(entry.size(), Limits.ENTRY_BYTES),
          "limit-name",
          "entry-bytes",
          "value",
          entry.size(),
          "limit",
          Limits.ENTRY_BYTES);
    }
    int registers = unknown.size();
    return log.append(entry).thenApply(done -> skip(done, registers));
  }

  private static Appended skip(Appended done, int registers) {
    byte[] reply = done.reply();
    return new Appended(done.index(), java.util.Arrays.copyOfRange(reply, registers, reply.length));
  }

  private void end(Batch batch, @Nullable Appended done, @Nullable Throwable failure) {
    List<Waiting> failed = new ArrayList<>();
    synchronized (this) {
      inFlight--;
      if (failure != null) {
        failed.addAll(waiting);
        waiting.clear();
      }
    }
    long term = log.leadership().term();
    for (int i = 0; i < batch.pushes.size(); i++) {
      CompletableFuture<PushDone> push = batch.pushes.get(i).done;
      if (done == null) {
        push.completeExceptionally(cause(failure));
      } else {
        finish(push, Outcome.of(done.reply()[i]), done.index(), term);
      }
    }
    for (Waiting push : failed) {
      push.command.release();
      push.done.completeExceptionally(cause(failure));
    }
    send();
  }

  private static Throwable cause(@Nullable Throwable failure) {
    Throwable cause = failure;
    while (cause instanceof CompletionException && cause.getCause() != null) {
      cause = cause.getCause();
    }
    return cause == null ? new IllegalStateException("no reply") : cause;
  }

  private static void finish(
      CompletableFuture<PushDone> push, Outcome outcome, long index, long term) {
    Refusal refusal = Refusals.of(outcome);
    if (refusal != null) {
      push.completeExceptionally(refusal);
    } else {
      push.complete(new PushDone(index, term, outcome == Outcome.DUPLICATE));
    }
  }
}
