package io.tensorhold.server.raft;

import com.google.protobuf.InvalidProtocolBufferException;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.ratis.protocol.Message;
import org.apache.ratis.protocol.RaftGroupId;
import org.apache.ratis.thirdparty.com.google.protobuf.UnsafeByteOperations;

/** The catalog's log, and this server's replica of it. */
final class CatalogReplica implements CatalogLog {
  private static final long CATCH_UP_SECONDS = 5;

  private record Waiter(BooleanSupplier condition, CompletableFuture<Void> done) {}

  private final List<Waiter> waiters = new ArrayList<>();
  private final RaftNode raft;
  private final RaftGroupId group;
  private final CatalogState state = new CatalogState();

  CatalogReplica(RaftNode raft, RaftGroupId group) {
    this.raft = raft;
    this.group = group;
  }

  @Override
  public CompletableFuture<CatalogReply> append(CatalogCommand command) {
    return raft.append(
            group,
            Message.valueOf(UnsafeByteOperations.unsafeWrap(command.toByteArray())),
            this::leadership)
        .thenApply(
            appended -> {
              CatalogReply reply;
              try {
                reply = CatalogReply.parseFrom(appended.reply());
              } catch (InvalidProtocolBufferException e) {
                throw new IllegalStateException(e);
              }
              if (reply.hasRefused()) {
                CatalogReply.Refused refused = reply.getRefused();
                List<Object> details = new ArrayList<>();
                refused
                    .getDetailsMap()
                    .forEach(
                        (key, value) -> {
                          details.add(key);
                          details.add(value);
                        });
                throw new Refusal(
                    Reason.valueOf(refused.getReason()), refused.getMessage(), details.toArray());
              }
              return reply;
            });
  }

  @Override
  public CompletableFuture<Void> fence() {
    return raft.fence(group, this::leadership);
  }

  @Override
  public CompletableFuture<Void> until(BooleanSupplier condition) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    synchronized (waiters) {
      if (!condition.getAsBoolean()) {
        waiters.add(new Waiter(condition, done));
        return done.orTimeout(CATCH_UP_SECONDS, TimeUnit.SECONDS);
      }
    }
    done.complete(null);
    return done;
  }

  void changed() {
    List<Waiter> ended = new ArrayList<>();
    synchronized (waiters) {
      waiters.removeIf(
          waiter -> {
            boolean over = waiter.done.isDone() || waiter.condition.getAsBoolean();
            if (over) {
              ended.add(waiter);
            }
            return over;
          });
    }
    ended.forEach(waiter -> waiter.done.complete(null));
  }

  @Override
  public List<String> members() {
    return raft.membersIfHeld(group);
  }

  @Override
  public Leadership leadership() {
    return raft.leadership(group);
  }

  @Override
  public CatalogState state() {
    return state;
  }
}
