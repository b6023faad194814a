package io.tensorhold.server.raft;

import io.tensorhold.server.catalog.CatalogState;
import io.tensorhold.server.catalog.log.CatalogCommand;
import io.tensorhold.server.catalog.log.CatalogReply;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;

/** The replicated log of the catalog, and this server's replica of it. */
public interface CatalogLog {
  /** Appends a command; a refusal of the catalog fails the future with it. */
  CompletableFuture<CatalogReply> append(CatalogCommand command);

  /**
   * Ends once this replica, leader or follower, has applied all that was acknowledged before; fails
   * with a {@link io.tensorhold.server.base.Refusal} while no leader can tell what that is.
   */
  CompletableFuture<Void> fence();

  /**
   * Ends once the replica's state meets the condition; fails with a {@link
   * java.util.concurrent.TimeoutException} after some seconds.
   */
  CompletableFuture<Void> until(BooleanSupplier condition);

  /** Ids of the servers that vote on the log, as this replica knows them; empty without one. */
  List<String> members();

  /** Who leads, as far as this server has heard. */
  Leadership leadership();

  /** This server's replica; empty if it has none. */
  CatalogState state();
}
