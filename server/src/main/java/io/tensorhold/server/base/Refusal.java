package io.tensorhold.server.base;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A request that was refused and changed nothing: a reason for programs, a message for people, and
 * the values it is about. It carries no stack trace: it is an answer, not a fault.
 */
public final class Refusal extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final Reason reason;
  private final transient Map<String, String> details;

  /**
   * A refusal with details as alternating keys and values.
   *
   * @throws IllegalArgumentException if a key has no value
   */
  public Refusal(Reason reason, String message, @Nullable Object... details) {
    super(message, null, false, false);
    if (details.length % 2 != 0) {
      throw new IllegalArgumentException("details come in pairs: length=" + details.length);
    }
    this.reason = reason;
    Map<String, String> map = new LinkedHashMap<>();
    for (int i = 0; i < details.length; i += 2) {
      map.put(String.valueOf(details[i]), String.valueOf(details[i + 1]));
    }
    this.details = map;
  }

  /** Why, for programs. */
  public Reason reason() {
    return reason;
  }

  /** The values the refusal is about, such as {@code value}, {@code limit} or {@code leader}. */
  public Map<String, String> details() {
    return details;
  }

  /** What people read. */
  public String text() {
    return String.valueOf(getMessage());
  }
}
