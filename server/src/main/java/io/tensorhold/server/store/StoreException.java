package io.tensorhold.server.store;

/** RocksDB or its files failed. */
public final class StoreException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** A failure of what the message says. */
  public StoreException(String message, Throwable cause) {
    super(message, cause);
  }

  /** A failure that has no deeper cause. */
  public StoreException(String message) {
    super(message);
  }
}
