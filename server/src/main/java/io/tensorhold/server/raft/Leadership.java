package io.tensorhold.server.raft;

import org.jspecify.annotations.Nullable;

/**
 * What one server knows of who leads a group.
 *
 * @param leads this server does, and is ready to serve
 * @param leader id of the server that leads, as far as this one has heard
 * @param role "leader", "follower", "candidate" or "starting"
 */
public record Leadership(boolean leads, @Nullable String leader, long term, String role) {
  /** Of a group that this server does not hold. */
  public static final Leadership NONE = new Leadership(false, null, 0, "starting");
}
