package io.tensorhold.server.rpc;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.proto.v1.OpenSessionRequest;
import io.tensorhold.server.base.Reason;
import io.tensorhold.server.base.Refusal;
import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import io.tensorhold.server.raft.CatalogLog;
import io.tensorhold.server.raft.Leadership;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;

/** What a server says of a session that its catalog replica does not know. */
class SessionCheckTest {
  /** A replica of the catalog whose leader answers as a test says. */
  private static final class Follower implements CatalogLog {
    private final CatalogState state = new CatalogState();
    private Supplier<CompletableFuture<Void>> fence = () -> CompletableFuture.completedFuture(null);

    void applyOpenSession() {
      CatalogCommand.Builder open = CatalogCommand.newBuilder();
      state.apply(1, 0, open.setOpenSession(OpenSessionRequest.getDefaultInstance()).build());
    }

    @Override
    public CompletableFuture<CatalogReply> append(CatalogCommand command) {
      throw new UnsupportedOperationException();
    }

    @Override
    public CompletableFuture<Void> fence() {
      return fence.get();
    }

    @Override
    public CompletableFuture<Void> until(BooleanSupplier condition) {
      throw new UnsupportedOperationException();
    }

    @Override
    public List<String> members() {
      return List.of();
    }

    @Override
    public Leadership leadership() {
      return new Leadership(false, "s2", 1, "follower");
    }

    @Override
    public CatalogState state() {
      return state;
    }
  }

  private final Follower catalog = new Follower();
  private final BlockRequests requests = new BlockRequests(catalog, 1);

  private Reason refused() {
    Refusal[] refusal = {null};
    assertThatThrownBy(() -> requests.requireSession(1))
        .isInstanceOfSatisfying(Refusal.class, r -> refusal[0] = r);
    return refusal[0].reason();
  }

  @Test
  void youngSessionIsFoundAfterTheReplicaHasCaughtUp() {
    catalog.fence =
        () -> {
          catalog.applyOpenSession();
          return CompletableFuture.completedFuture(null);
        };
    assertThatCode(() -> requests.requireSession(1)).doesNotThrowAnyException();
  }

  @Test
  void sessionIsUnknownOnlyToAReplicaThatIsUpToDate() {
    assertThat(refused()).isEqualTo(Reason.SESSION_UNKNOWN);
  }

  @Test
  void replicaThatMayBeBehindAsksForAnotherTry() {
    Refusal lost = new Refusal(Reason.NOT_LEADER, "nobody leads the catalog");
    catalog.fence = () -> CompletableFuture.failedFuture(lost);
    assertThat(refused()).isEqualTo(Reason.UNAVAILABLE);
  }
}
