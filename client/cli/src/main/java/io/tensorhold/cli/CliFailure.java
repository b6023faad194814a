package io.tensorhold.cli;

/** Why a command failed, in one line for its user. */
public final class CliFailure extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public CliFailure(String message) {
    super(message, null, false, false);
  }
}
