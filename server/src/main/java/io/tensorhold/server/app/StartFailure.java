package io.tensorhold.server.app;

/** Why a server can't start, in one line for its operator. */
public final class StartFailure extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** A failure; the message says what was wrong and what to do. */
  public StartFailure(String message) {
    super(message, null, false, false);
  }

  String text() {
    return String.valueOf(getMessage());
  }
}
