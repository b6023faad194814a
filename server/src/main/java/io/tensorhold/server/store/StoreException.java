package io.tensorhold.server.store;

import org.jspecify.annotations.Nullable;

/** RocksDB or its files failed. */
public final class StoreException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final boolean damage;
  private final boolean beingMended;

  /** Damage of the files, and what it is. */
  public StoreException(String message) {
    this(message, null, true, false);
  }

  /**
   * A failure of what the message says.
   *
   * @param damage the files are damaged, not merely out of reach
   * @param beingMended another replica's copy is going to take the place of what is damaged
   */
  public StoreException(
      String message, @Nullable Throwable cause, boolean damage, boolean beingMended) {
    super(message, cause);
    this.damage = damage;
    this.beingMended = beingMended;
  }

  /** Whether the files are damaged. */
  public boolean damage() {
    return damage;
  }

  /** Whether trying again later, or elsewhere, helps. */
  public boolean beingMended() {
    return beingMended;
  }
}
